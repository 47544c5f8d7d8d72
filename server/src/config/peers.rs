//! The other data centres. Checked only: peers are not built yet.

use std::net::SocketAddr;

use schemas::Dc;

use super::{
    section::{Item, Read, Section, list, named, section},
    tls,
    value::{Refusal, socket_address, text_as},
};

/// Checks `peers` of the data centre `own`.
pub(super) fn check(peers: &mut Section<'_>, own: Read<&Dc>) -> Read<()> {
    let listen = peers.required("listen", socket_address("127.0.0.1:7081"));
    let is_local = |listen: SocketAddr| listen.ip().to_canonical().is_loopback();
    let has_tls = peers.has("tls");
    match listen {
        Ok(listen) if !is_local(listen) => peers.check_required("tls", tls::peer),
        _ => peers.check("tls", tls::peer),
    }
    let dcs = peers.required("dcs", named::<Dc, _>(section(|dc| peer(dc, has_tls))))?;
    match own {
        Ok(own) if dcs.iter().any(|(name, ())| name == own) => {
            let need = "other data centres than this node's own";
            Err(peers.refuse("dcs", Refusal::new(format!("`{own}`"), need, format!("leave `{own}` out"))))
        }
        _ => Ok(()),
    }
}

fn peer(dc: &mut Section<'_>, has_tls: bool) -> Read<()> {
    dc.check_required("urls", list(url));
    let tls_name = text_as("the name in the peer's certificate", "codfw.solera.example", some_text);
    if has_tls {
        dc.check_required("tls_name", tls_name)
    } else {
        dc.check("tls_name", tls_name)
    }
    Ok(())
}

fn url(item: &mut Item<'_>) -> Read<()> {
    text_as("a URL of scheme, host and port", "https://127.0.0.1:7082", is_url)(item)
}

fn is_url(text: &str) -> Option<()> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    (!authority.is_empty() && authority.bytes().all(fits)).then_some(())
}

fn some_text(text: &str) -> Option<()> {
    (!text.trim().is_empty()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_scheme_host_and_port() {
        for text in ["https://127.0.0.1:7082", "http://codfw.example", "https://[::1]:7082/"] {
            assert!(is_url(text).is_some(), "{text:?}");
        }
        for text in
            ["", "codfw:7082", "ftp://codfw", "https://", "https://a/b", "https://user@a", "https://a b"]
        {
            assert!(is_url(text).is_none(), "{text:?}");
        }
    }
}
