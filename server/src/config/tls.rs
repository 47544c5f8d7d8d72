//! Certificates and keys by path. Checked only: TLS is not built yet.

use yaml_serde::Value;

use super::{
    section::{Item, Read, Section, section},
    value::path,
};

/// Checks the `tls` of a listener: a certificate and its key, and whose certificates clients must show.
pub(super) fn server(item: &mut Item<'_>) -> Read<()> {
    let mut read = section(|tls: &mut Section<'_>| {
        check_pair(tls);
        tls.check("client_ca", path("/etc/solera/clients.pem"));
        Ok(())
    });
    read(item)
}

/// Checks the `tls` between data centres, where both sides show a certificate.
pub(super) fn peer(item: &mut Item<'_>) -> Read<()> {
    let mut read = section(|tls: &mut Section<'_>| {
        check_pair(tls);
        tls.check_required("ca", path("/etc/solera/peers-ca.pem"));
        Ok(())
    });
    read(item)
}

fn check_pair(tls: &mut Section<'_>) {
    tls.check_required("cert", path("/etc/solera/cert.pem"));
    tls.check_required("key", path("/etc/solera/key.pem"));
}

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
