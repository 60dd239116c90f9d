//! Plain TCP.

use std::io::{self, ErrorKind};

use peerpool_core::address::Address;
use peerpool_core::event::DialError;
use tokio::net::TcpStream;

/// Dials `address`; waits as long as the operating system does. Dropping the future gives up.
pub(crate) async fn connect(address: Address) -> Result<TcpStream, DialError> {
    let target = address.socket_addr().ok_or(DialError::Unsupported)?;
    let stream = TcpStream::connect(target).await.map_err(|error| verdict(&error))?;
    // A dial of an unbound local port in the ephemeral range can meet itself (simultaneous open).
    if stream.local_addr().ok() == Some(target) {
        return Err(DialError::Refused);
    }
    // Every message is flushed whole, so waiting to fill a segment only costs time.
    stream.set_nodelay(true).map_err(|error| verdict(&error))?;
    Ok(stream)
}

/// What a failed dial says of the address.
fn verdict(error: &io::Error) -> DialError {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => DialError::Refused,
        ErrorKind::ConnectionAborted | ErrorKind::NotConnected => DialError::Refused,
        ErrorKind::TimedOut => DialError::TimedOut,
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => DialError::NoRoute,
        ErrorKind::NetworkDown => DialError::NoRoute,
        ErrorKind::AddrNotAvailable => DialError::NoDescriptors,
        _ if error.raw_os_error().is_some_and(is_out_of_descriptors) => DialError::NoDescriptors,
        _ => DialError::Unsupported,
    }
}

/// EMFILE, ENFILE and ENOBUFS: they have no stable `ErrorKind`.
fn is_out_of_descriptors(errno: i32) -> bool {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const ENOBUFS: i32 = if cfg!(target_os = "linux") { 105 } else { 55 };
    matches!(errno, EMFILE | ENFILE | ENOBUFS)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use peerpool_core::address::Host;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_unbound_port_refuses_and_a_bound_one_answers() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        assert!(connect(address).await.unwrap().nodelay().unwrap());
        drop(listener);
        assert_eq!(connect(address).await.unwrap_err(), DialError::Refused);
    }

    #[tokio::test]
    async fn what_tcp_cannot_reach_is_a_local_error() {
        let onion = Address { host: Host::Onion([7; 32]), port: 8333 };
        assert_eq!(connect(onion).await.unwrap_err(), DialError::Unsupported);
        let broadcast = Address::from(SocketAddr::from((Ipv4Addr::BROADCAST, 8333)));
        assert!(connect(broadcast).await.unwrap_err().is_local());
    }

    #[test]
    fn errors_are_told_apart() {
        for (errno, expected) in [
            (111, DialError::Refused),
            (104, DialError::Refused),
            (110, DialError::TimedOut),
            (101, DialError::NoRoute),
            (113, DialError::NoRoute),
            (24, DialError::NoDescriptors),
            (23, DialError::NoDescriptors),
            (99, DialError::NoDescriptors),
            (105, DialError::NoDescriptors),
            (13, DialError::Unsupported),
            (22, DialError::Unsupported),
        ] {
            if cfg!(target_os = "linux") {
                assert_eq!(verdict(&io::Error::from_raw_os_error(errno)), expected, "{errno}");
            }
        }
    }
}
