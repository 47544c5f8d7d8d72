//! Certificates and keys by path.

use std::path::PathBuf;

use yaml_serde::Value;

use super::{
    section::{Item, Read, Section, section},
    value::path,
};

/// What a listener that speaks TLS is made of. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then those of the authorities between it and one that clients trust.
    pub cert: PathBuf,
    /// The private key of the first certificate, not encrypted.
    pub key: PathBuf,
    /// The authorities of which a client must show a certificate. Default: none is asked for.
    pub client_ca: Option<PathBuf>,
}

/// Reads the `tls` of a listener.
pub(super) fn server(item: &mut Item<'_>) -> Read<TlsFiles> {
    let mut read = section(|tls: &mut Section<'_>| {
        let cert = tls.required("cert", path(CERT));
        let key = tls.required("key", path(KEY));
        let client_ca = tls.optional("client_ca", path("/etc/solera/clients.pem"));
        Ok(TlsFiles { cert: cert?, key: key?, client_ca: client_ca? })
    });
    read(item)
}

/// Reads the `tls` between data centres, where both sides show a certificate.
pub(super) fn peer(item: &mut Item<'_>) -> Read<TlsFiles> {
    let mut read = section(|tls: &mut Section<'_>| {
        let cert = tls.required("cert", path(CERT));
        let key = tls.required("key", path(KEY));
        let ca = tls.required("ca", path("/etc/solera/peers-ca.pem"));
        Ok(TlsFiles { cert: cert?, key: key?, client_ca: Some(ca?) })
    });
    read(item)
}

const CERT: &str = "/etc/solera/cert.pem";

const KEY: &str = "/etc/solera/key.pem";

/// Whether `tls` says nothing: Kask's own default is a certificate and a key that are empty.
pub(super) fn is_empty(tls: &Value) -> bool {
    let says_nothing = |value: &Value| value.is_null() || value.as_str() == Some("");
    match tls {
        Value::Mapping(entries) => entries
            .iter()
            .all(|(key, value)| matches!(key.as_str(), Some("cert" | "key")) && says_nothing(value)),
        _ => false,
    }
}
