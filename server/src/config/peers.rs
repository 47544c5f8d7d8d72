//! The other data centres.

use std::net::{IpAddr, SocketAddr};

use schemas::Dc;
use writer::peer::{PeerUrl, TlsName};

use super::{
    section::{Item, Read, Section, list, named, section},
    tls::{self, TlsFiles},
    value::{Refusal, socket_address, text, text_as},
};

/// The other data centres, and where this one is asked by them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeersConfig {
    /// Where nodes of other data centres ask. Loopback only without `tls`.
    pub listen: SocketAddr,
    /// What data centres show each other, and whom they trust. Default: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// The others: at least one.
    pub dcs: Vec<(Dc, PeerConfig)>,
}

/// Another data centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// The peer listeners of its nodes: at least one. `https://` with `tls`; without it `http://` and loopback.
    pub urls: Vec<PeerUrl>,
    /// The name in its certificate. There with `tls`.
    pub tls_name: Option<TlsName>,
}

/// Reads `peers` of the data centre `own`.
pub(super) fn read(peers: &mut Section<'_>, own: Read<&Dc>) -> Read<PeersConfig> {
    let listen = peers.required("listen", socket_address("127.0.0.1:7081"));
    let is_local = |listen: SocketAddr| listen.ip().to_canonical().is_loopback();
    let has_tls = peers.has("tls");
    let tls = match listen {
        Ok(listen) if !is_local(listen) => peers.required("tls", tls::peer).map(Some),
        _ => peers.optional("tls", tls::peer),
    };
    let dcs = peers.required("dcs", named::<Dc, _>(section(|dc| peer(dc, has_tls))))?;
    match own {
        Ok(own) if dcs.iter().any(|(name, _)| name == own) => {
            let need = "other data centres than this node's own";
            Err(peers.refuse("dcs", Refusal::new(format!("`{own}`"), need, format!("leave `{own}` out"))))
        }
        _ => Ok(PeersConfig { listen: listen?, tls: tls?, dcs }),
    }
}

fn peer(dc: &mut Section<'_>, has_tls: bool) -> Read<PeerConfig> {
    let urls = dc.required("urls", list(|item| url(item, has_tls)));
    let name =
        text_as("the name in the peer's certificate", "codfw.solera.example", |text| text.parse().ok());
    let tls_name =
        if has_tls { dc.required("tls_name", name).map(Some) } else { dc.optional("tls_name", name) };
    Ok(PeerConfig { urls: urls?, tls_name: tls_name? })
}

fn url(item: &mut Item<'_>, has_tls: bool) -> Read<PeerUrl> {
    let text = text(item)?;
    let mut refuse = |need, example| Err(item.refuse(Refusal::new(format!("{text:?}"), need, example)));
    match (authority(&text), text.parse::<PeerUrl>()) {
        (Some(_), Ok(url)) if has_tls && url.is_https() => Ok(url),
        (Some(authority), Ok(url)) if !has_tls && !url.is_https() && is_loopback(authority) => Ok(url),
        (Some(_), Ok(_)) if has_tls => {
            refuse("https:// where there is `tls`", "for example https://127.0.0.1:7082")
        }
        (Some(_), Ok(_)) => {
            refuse("http:// and loopback where there is no `tls`", "for example http://127.0.0.1:7082")
        }
        _ => refuse("a URL of scheme, host and port", "for example https://127.0.0.1:7082"),
    }
}

/// Host and port.
fn authority(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    (!authority.is_empty() && authority.bytes().all(fits)).then_some(authority)
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_scheme_host_and_port() {
        for text in ["https://127.0.0.1:7082", "http://codfw.example", "https://[::1]:7082/"] {
            assert!(authority(text).is_some(), "{text:?}");
        }
        for text in
            ["", "codfw:7082", "ftp://codfw", "https://", "https://a/b", "https://user@a", "https://a b"]
        {
            assert!(authority(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn loopback_is_this_machine_in_any_spelling_and_no_name_that_begins_like_it() {
        for text in ["127.0.0.1:1", "127.8.8.8", "[::1]:1", "[::1]", "localhost:1", "[::ffff:127.0.0.1]:1"] {
            assert!(is_loopback(text), "{text:?}");
        }
        for text in ["10.0.0.1:1", "127.0.0.1.example:1", "localhost.example", "[::2]:1", "codfw:1"] {
            assert!(!is_loopback(text), "{text:?}");
        }
    }
}
