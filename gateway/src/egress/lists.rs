//! The way to servers of lists: through the same resolver and guard as everything else that leaves by this door.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::net::TcpStream;

use super::dial::dial;
use super::guard::Guard;
use super::resolver::Resolver;
use crate::destination::Connect;

/// Longer than one family that leads nowhere takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reaches servers of lists. A private address needs its `[[egress.reach]]`, as for everybody.
pub struct GuardedConnect {
    pub resolver: Arc<Resolver>,
    pub guard: Arc<Guard>,
}

impl Connect for GuardedConnect {
    fn connect(&self, host: Box<str>, port: u16) -> BoxFuture<'static, io::Result<TcpStream>> {
        let (resolver, guard) = (Arc::clone(&self.resolver), Arc::clone(&self.guard));
        Box::pin(async move {
            let host = host.to_ascii_lowercase();
            let found = resolver.resolve(&host, port).await?;
            let checked = guard
                .check(&host, found)
                .map_err(|prohibited| io::Error::other(format!("{prohibited} address")))?;
            let (stream, _) = dial(&checked, PATIENCE).await.map_err(io::Error::other)?;
            Ok(stream)
        })
    }
}
