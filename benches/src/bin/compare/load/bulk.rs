//! Large bodies, a few at a time.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::client::Session;
use super::wire::Connection;
use super::{Direction, Outcome, ready, request, say};
use crate::failure::Failure;

static PIECE: [u8; 64 * 1024] = [b'm'; 64 * 1024];

/// `bytes` in each direction's body on each of `connections`.
pub(super) async fn run(
    session: &Arc<Session>,
    connections: usize,
    bytes: u64,
    direction: Direction,
) -> Result<(), Failure> {
    let small = request("GET", "/", Some(&session.token), None);
    let mut open = Vec::new();
    for _ in 0..connections {
        let mut connection = Connection::new(session.connect(session.config()).await?);
        connection.ask(&small).await?;
        open.push(connection);
    }
    ready()?;
    let go = Instant::now();
    let mut transfers = JoinSet::new();
    for mut connection in open {
        let token = session.token.clone();
        transfers.spawn(async move {
            let head = match direction {
                Direction::Download => {
                    let path = format!("/bytes/{bytes}");
                    connection
                        .ask(&request("GET", &path, Some(&token), None))
                        .await?
                }
                Direction::Upload => {
                    connection
                        .send(&request("PUT", "/upload", Some(&token), Some(bytes)))
                        .await?;
                    let mut left = bytes;
                    while left > 0 {
                        let length = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE.len());
                        connection
                            .send(PIECE.get(..length).unwrap_or_default())
                            .await?;
                        left -= length as u64;
                    }
                    connection.answer().await?
                }
            };
            Ok::<_, Failure>((head, connection))
        });
    }
    let mut outcome = Outcome::default();
    let mut open = Vec::new();
    while let Some(ended) = transfers.join_next().await {
        let (head, connection) = ended??;
        let complete = matches!(direction, Direction::Upload) || head.content == bytes;
        outcome.done += 1;
        outcome.errors += u64::from(head.status != 200 || !complete);
        outcome.bytes += bytes;
        open.push(connection);
    }
    outcome.seconds = go.elapsed().as_secs_f64();
    say(&outcome)?;
    super::stay();
    drop(open);
    Ok(())
}
