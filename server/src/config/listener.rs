//! The data listener: where clients ask for sessions.

use std::{net::IpAddr, path::PathBuf};

use super::{
    section::{Read, Section},
    tls::{self, TlsFiles},
    value::{number, path, text, text_as},
};

/// Where clients ask for sessions, and what the listener says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// A name or an IP address without brackets. Default `localhost`, which nobody else can reach.
    pub address: String,
    /// 1 to 65535. Default 8080.
    pub port: u16,
    /// A file that `/openapi` serves after filling in the base URI. Default: the specification that is built in.
    pub openapi_spec: Option<PathBuf>,
    /// Makes the listener speak TLS, and nothing else. Default: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// A file that says which clients may do what ([`super::clients`]). Default: whoever can connect may do everything.
    pub tokens_file: Option<PathBuf>,
}

/// Kask's default address.
const ADDRESS: &str = "localhost";

/// Kask's default port.
const PORT: u16 = 8080;

/// Reads the port, which the admin listener's default depends on.
pub(super) fn port(top: &mut Section<'_>) -> Read<u16> {
    top.or("listen_port", PORT, number("a whole number", 1..=u16::MAX, PORT))
}

/// Reads the other keys of the top level that are about the data listener.
pub(super) fn read(top: &mut Section<'_>, port: Read<u16>) -> Read<Listener> {
    let address = top.or("listen_address", ADDRESS.to_owned(), text_as(NEED, ADDRESS, host));
    let openapi_spec = top.optional("openapi_spec", text);
    let tls = top.optional("tls", tls::server);
    let tokens_file = top.optional("tokens_file", path(TOKENS_FILE));
    let openapi_spec = openapi_spec?.filter(|path| !path.is_empty()).map(PathBuf::from);
    Ok(Listener { address: address?, port: port?, openapi_spec, tls: tls?, tokens_file: tokens_file? })
}

/// An example of a file that says which clients may do what.
pub(super) const TOKENS_FILE: &str = "/etc/solera/tokens.yaml";

const NEED: &str = "a name or an IP address, without a port; 0.0.0.0 or :: is every address of this machine";

/// A name or an IP address. IPv6 may stand in brackets, as Kask needs it.
fn host(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let is_name = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    (is_name || bare.parse::<IpAddr>().is_ok()).then(|| bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_name_or_an_ip_address_without_a_port() {
        let cases = [
            ("localhost", Some("localhost")),
            ("node-1.solera.example", Some("node-1.solera.example")),
            ("0.0.0.0", Some("0.0.0.0")),
            ("::1", Some("::1")),
            ("[::1]", Some("::1")),
            ("", None),
            ("localhost:8080", None),
            ("[::1]:8080", None),
            ("http://localhost", None),
            ("local host", None),
            ("[localhost]", None),
        ];
        for (text, expected) in cases {
            assert_eq!(host(text).as_deref(), expected, "{text:?}");
        }
    }
}
