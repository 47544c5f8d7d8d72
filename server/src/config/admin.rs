//! The admin listener: where operators look and act.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use super::{
    listener::TOKENS_FILE,
    section::{Read, Section},
    tls::{self, TlsFiles},
    value::{Refusal, path, socket_address},
};

/// Where operators look and act, and who may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Default: loopback, 1000 above the data port. Off loopback it needs both of the others.
    pub listen: SocketAddr,
    /// Makes the listener speak TLS, and nothing else. Default: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// A file that says which clients have which role ([`super::clients`]); it may be the data listener's. Default: whoever can
    /// connect operates.
    pub tokens_file: Option<PathBuf>,
}

/// How far above the data port the admin port is, when a file does not say.
const PORT_STEP: u16 = 1000;

const EXAMPLE: &str = "for example 127.0.0.1:9081";

/// Reads `admin`, in which every key has a default.
pub(super) fn read(admin: &mut Section<'_>, listen_port: Read<u16>) -> Read<AdminConfig> {
    let listen = admin.optional("listen", socket_address("127.0.0.1:9081"));
    let is_guarded = admin.has("tls") && admin.has("tokens_file");
    let tls = admin.optional("tls", tls::server);
    let tokens_file = admin.optional("tokens_file", path(TOKENS_FILE));
    let listen = match listen? {
        Some(listen) if !listen.ip().to_canonical().is_loopback() && !is_guarded => {
            Err(away_from_loopback(listen))
        }
        Some(listen) if listen.port() == listen_port? => Err(same_port(listen)),
        Some(listen) => Ok(listen),
        None => default_listen(listen_port?).ok_or_else(no_default),
    };
    match listen {
        Ok(listen) => Ok(AdminConfig { listen, tls: tls?, tokens_file: tokens_file? }),
        Err(refusal) => Err(admin.refuse("listen", refusal)),
    }
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
