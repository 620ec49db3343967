//! Whether the proxy does the work it is measured for: three requests that must be refused, one that must not.

use std::sync::Arc;

use rustls::ClientConfig;

use super::client::Session;
use super::wire::Connection;
use super::{Outcome, Seen, request};
use crate::failure::Failure;

pub(super) fn run(session: &Session) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let forged = forged(&session.token);
    let seen = runtime.block_on(async {
        let ask = async |config: Arc<ClientConfig>, token: Option<&str>| {
            let mut connection = Connection::new(session.connect(config).await?);
            let head = connection.ask(&request("GET", "/", token, None)).await?;
            Ok::<u16, Failure>(head.status)
        };
        Ok::<Seen, Failure>(Seen {
            with_both: ask(session.config(), Some(&session.token)).await?,
            with_forged_token: ask(session.config(), Some(&forged)).await?,
            without_token: ask(session.config(), None).await?,
            without_certificate: ask(session.without_certificate()?, Some(&session.token))
                .await
                .ok(),
        })
    })?;
    Ok(Outcome {
        done: 4,
        seen: Some(seen),
        ..Outcome::default()
    })
}

/// The same token with another letter in the middle of its signature.
fn forged(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').unwrap_or((token, ""));
    let mut letters: Vec<char> = signature.chars().collect();
    let middle = letters.len() / 2;
    if let Some(letter) = letters.get_mut(middle) {
        *letter = if *letter == 'A' { 'B' } else { 'A' };
    }
    format!("{message}.{}", letters.into_iter().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_token_differs_in_its_signature_only() {
        let forged = forged("head.claims.signature");
        assert_ne!(forged, "head.claims.signature");
        assert!(forged.starts_with("head.claims."));
        assert_eq!(forged.len(), "head.claims.signature".len());
    }
}
