//! Many connections that have been used once: what a company's browsers look like most of the time.

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::client::Session;
use super::wire::Connection;
use super::{Outcome, ready, request, say};
use crate::failure::Failure;

/// Opened at the same time; more would only queue.
const AT_ONCE: usize = 16;

pub(super) async fn run(session: &Arc<Session>, connections: usize) -> Result<(), Failure> {
    let begun = Instant::now();
    let small: Arc<[u8]> = request("GET", "/", Some(&session.token), None).into();
    let mut opening = JoinSet::new();
    let mut open = Vec::with_capacity(connections);
    let mut outcome = Outcome::default();
    for started in 0..connections + AT_ONCE {
        if started >= AT_ONCE
            && let Some(opened) = opening.join_next().await
        {
            let (status, connection): (u16, _) = opened??;
            outcome.done += 1;
            outcome.errors += u64::from(status != 200);
            open.push(connection);
        }
        if started < connections {
            let (session, small) = (Arc::clone(session), Arc::clone(&small));
            opening.spawn(async move {
                let mut connection = Connection::new(session.connect(session.config()).await?);
                let head = connection.ask(&small).await?;
                connection.rest();
                Ok::<_, Failure>((head.status, connection))
            });
        }
    }
    outcome.seconds = begun.elapsed().as_secs_f64();
    ready()?;
    say(&outcome)?;
    super::stay();
    drop(open);
    Ok(())
}
