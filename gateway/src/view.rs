//! What the administrators' listener may see of the running gateway.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::admin::AdminView;
use crate::gateway::Shared;

pub(crate) struct View {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl View {
    pub(crate) fn new(shared: Arc<Shared>, address: SocketAddr) -> Self {
        Self { shared, address }
    }
}
