//! Where a peer is, and how it is spoken to there.

use std::{fmt, str::FromStr, sync::Arc};

use hyper::Uri;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{InvalidDnsNameError, ServerName},
};

/// How a peer is spoken to over TLS.
#[derive(Clone, Debug)]
pub struct PeerTls {
    /// What this node shows, and whom it trusts.
    pub config: Arc<ClientConfig>,
    /// The name that the peer's certificate must be for, whatever its address is.
    pub name: TlsName,
}

/// The name in a certificate: of a host, or an IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsName(ServerName<'static>);

impl TlsName {
    /// As rustls has it.
    pub const fn as_server_name(&self) -> &ServerName<'static> {
        &self.0
    }
}

impl FromStr for TlsName {
    type Err = InvalidDnsNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        ServerName::try_from(text.to_owned()).map(Self)
    }
}

/// Scheme, host and port of a node's peer listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerUrl(Box<str>);

impl PeerUrl {
    /// Whether TLS is spoken there.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }

    pub(super) fn join(&self, path: &str) -> Uri {
        format!("{}{path}", self.0).parse().expect("a path after scheme, host and port")
    }
}

impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not scheme, host and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a URL of a peer is http:// or https://, a host and a port")]
pub struct ParsePeerUrlError;

impl FromStr for PeerUrl {
    type Err = ParsePeerUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = text.strip_suffix('/').unwrap_or(text);
        let uri: Uri = bare.parse().map_err(|_| ParsePeerUrlError)?;
        let says_where = matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some();
        if says_where && uri.path() == "/" && uri.query().is_none() {
            Ok(Self(bare.into()))
        } else {
            Err(ParsePeerUrlError)
        }
    }
}

/// Plain where there is no TLS.
pub(super) fn over_tls(connector: HttpConnector, tls: Option<PeerTls>) -> HttpsConnector<HttpConnector> {
    let builder = HttpsConnectorBuilder::new();
    match tls {
        Some(PeerTls { config, name }) => builder
            .with_tls_config((*config).clone())
            .https_only()
            .with_server_name_resolver(FixedServerNameResolver::new(name.0))
            .enable_http1()
            .wrap_connector(connector),
        None => {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let nobody = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("the provider has ciphers for them")
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            builder.with_tls_config(nobody).https_or_http().enable_http1().wrap_connector(connector)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_scheme_host_and_port() {
        for text in ["http://127.0.0.1:7082", "http://codfw.example", "https://[::1]:7082/"] {
            assert!(text.parse::<PeerUrl>().is_ok(), "{text:?}");
        }
        for text in ["", "codfw:7082", "ftp://codfw", "http://", "http://a/b", "http://a b", "http://a/?b"] {
            assert_eq!(text.parse::<PeerUrl>(), Err(ParsePeerUrlError), "{text:?}");
        }
    }
}
