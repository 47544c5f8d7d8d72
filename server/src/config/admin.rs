//! The admin listener: where operators look and act.

use std::net::{Ipv4Addr, SocketAddr};

use super::{
    section::{Read, Section},
    tls,
    value::{Refusal, path, socket_address},
};

/// How far above the data port the admin port is, when a file does not say.
const PORT_STEP: u16 = 1000;

const EXAMPLE: &str = "for example 127.0.0.1:9081";

/// Reads `admin`, whose default is loopback, 1000 above the data port.
pub(super) fn read(admin: &mut Section<'_>, listen_port: Read<u16>) -> Read<SocketAddr> {
    let listen = admin.optional("listen", socket_address("127.0.0.1:9081"));
    let is_guarded = admin.has("tls") && admin.has("tokens_file");
    admin.later("tls", "leave it out, and listen on 127.0.0.1", tls::server);
    admin.later("tokens_file", "leave it out, and listen on 127.0.0.1", path("/etc/solera/tokens"));

    let listen = listen?;
    let refusal = match listen {
        Some(listen) if !listen.ip().to_canonical().is_loopback() && !is_guarded => {
            away_from_loopback(listen)
        }
        Some(listen) if listen.port() == listen_port? => same_port(listen),
        Some(listen) => return Ok(listen),
        None => match default_listen(listen_port?) {
            Some(listen) => return Ok(listen),
            None => no_default(),
        },
    };
    Err(admin.refuse("listen", refusal))
}

/// Loopback, 1000 above the data port; `None` when no port is there.
pub(super) fn default_listen(listen_port: u16) -> Option<SocketAddr> {
    let port = listen_port.checked_add(PORT_STEP)?;
    Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

fn away_from_loopback(listen: SocketAddr) -> Refusal {
    let need = "a loopback address, as `admin.tls` and `admin.tokens_file` do not guard it";
    Refusal::new(listen.to_string(), need, format!("for example 127.0.0.1:{}", listen.port()))
}

fn same_port(listen: SocketAddr) -> Refusal {
    Refusal::new(listen.to_string(), "another port than `listen_port`", EXAMPLE)
}

fn no_default() -> Refusal {
    Refusal::new("nothing", "an address, as `listen_port` + 1000 is over 65535", "or lower `listen_port`")
}
