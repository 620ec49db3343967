//! A checked address becomes a connection; nothing is resolved again.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::guard::Checked;
use crate::upstream::{ForwardError, race};

/// Connects to the first of the addresses that answers, trying families in turn (RFC 8305), and says which it was.
///
/// # Errors
/// `ConnectTimedOut` after `patience`; `Unreachable` when all have refused.
pub async fn dial(
    checked: &Checked,
    patience: Duration,
) -> Result<(TcpStream, SocketAddr), ForwardError> {
    let racing = race(checked.addresses().to_vec());
    let stream = tokio::time::timeout(patience, racing)
        .await
        .map_err(|_elapsed| ForwardError::ConnectTimedOut)?
        .map_err(ForwardError::Unreachable)?;
    let at = stream.peer_addr().map_err(ForwardError::Unreachable)?;
    if checked.addresses().contains(&at) {
        Ok((stream, at))
    } else {
        // Cannot be; and were it so, it would not be what was checked.
        Err(ForwardError::Unreachable(io::ErrorKind::Other.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::guard::{Guard, OwnAddresses};
    use super::*;
    use crate::config::egress::{DomainPattern, Reach};

    /// Addresses on loopback, checked.
    fn checked(addresses: &[SocketAddr]) -> Checked {
        let reach = Reach {
            hosts: vec![DomainPattern {
                name: "name.example".to_owned(),
                below: false,
            }],
            ranges: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            ports: addresses.iter().map(SocketAddr::port).collect(),
        };
        let guard = Guard::new(&[reach], OwnAddresses::default());
        guard.check("name.example", addresses.to_vec()).unwrap()
    }

    fn listening() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn closed() -> SocketAddr {
        listening().1
    }

    #[tokio::test]
    async fn an_address_that_refuses_makes_room_for_the_next() {
        let (_listener, open) = listening();
        let (stream, at) = dial(&checked(&[closed(), open]), Duration::from_secs(5))
            .await
            .unwrap();
        assert_eq!((at, stream.peer_addr().unwrap()), (open, open));
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn refused_by_all_is_unreachable() {
        let error = dial(&checked(&[closed()]), Duration::from_secs(5))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "upstream-unreachable");
        assert_eq!(error.proxy_status(), "connection_refused");
    }

    #[tokio::test]
    async fn patience_ends() {
        // A queue that is full: the kernel answers nobody.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let full = socket.local_addr().unwrap().as_socket().unwrap();
        let _first = TcpStream::connect(full).await.unwrap();
        let patience = Duration::from_millis(50);
        let mut held = Vec::new();
        let error = loop {
            match dial(&checked(&[full]), patience).await {
                Ok(stream) => held.push(stream),
                Err(error) => break error,
            }
            assert!(held.len() < 100);
        };
        assert_eq!(error.code(), "upstream-connect-timeout");
    }
}
