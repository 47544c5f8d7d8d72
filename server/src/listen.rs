//! Opens the ports.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// Connections that may wait to be accepted. The system takes `net.core.somaxconn` if that is less. The library's own
/// default of 128 is filled by a burst that is served within a second; the system then drops what comes on top, and
/// those clients try again after 1 s, and then 3.
const BACKLOG: u32 = 4096;

/// Listens on the first address of a name that can be bound.
///
/// # Errors
/// When there is none; of the last one, if there are several.
pub(crate) async fn listen(host: &str, port: u16) -> io::Result<TcpListener> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host, port)).await? {
        match on(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Listens on an address.
///
/// # Errors
/// As the system says.
pub(crate) fn on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
