//! A Kask file as it is.

use yaml_serde::{Mapping, Value};

use super::{
    problem::Warning,
    section::{Read, Section},
    tls,
    value::key_text,
};

/// Keys of the top level that Kask has too, and that mean here what they mean there.
const KASK_KEYS: [&str; 8] = [
    "service_name",
    "listen_address",
    "listen_port",
    "base_uri",
    "default_ttl",
    "log_level",
    "openapi_spec",
    "tls",
];

/// Keys of the top level that Kask does not have.
pub(super) const OWN_KEYS: [&str; 15] = [
    "dc",
    "data_dir",
    "memory_mb",
    "log_format",
    "tokens_file",
    "admin",
    "log",
    "peers",
    "secrets",
    "audit",
    "limits",
    "checkpoints",
    "read_patience_ms",
    "on_log_outage",
    "stores",
];

/// For whom a file was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// For Kask: it has none of our own keys.
    Kask,
    /// For us.
    Own,
}

/// For whom the file was written. A key without a value counts: somebody meant to say something there.
pub(super) fn kind(file: &Mapping) -> Kind {
    if OWN_KEYS.iter().any(|key| file.contains_key(key)) { Kind::Own } else { Kind::Kask }
}

/// Takes out of the file what is as absent to Kask: keys of its own without a value, and a TLS pair of empty paths.
pub(super) fn drop_absent(file: &mut Mapping) {
    file.retain(|key, value| match key.as_str() {
        Some("tls") if tls::is_empty(value) => false,
        Some(key) => !(value.is_null() && KASK_KEYS.contains(&key)),
        None => true,
    });
}

/// Passes over `cassandra`, whatever is in it.
pub(super) fn ignore_cassandra(top: &mut Section<'_>) -> Read<Option<Warning>> {
    top.optional("cassandra", |item| {
        let keys = match item.value {
            Value::Mapping(entries) => entries.keys().map(key_text).collect(),
            _ => Vec::new(),
        };
        Ok(Warning::CassandraIgnored { keys })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Mapping {
        yaml_serde::from_str(text).unwrap()
    }

    #[test]
    fn one_key_of_ours_makes_the_file_ours() {
        assert_eq!(kind(&file("{service_name: a, cassandra: {hosts: [b]}, unknown: 1}")), Kind::Kask);
        for key in OWN_KEYS {
            assert_eq!(kind(&file(&format!("{{service_name: a, {key}: }}"))), Kind::Own, "{key}");
        }
    }

    #[test]
    fn what_is_as_absent_to_kask_is_absent() {
        for text in ["tls: ", "tls: {}", "tls: {cert: '', key: ''}", "tls: {cert: , key: }", "listen_port: "]
        {
            let mut file = file(text);
            drop_absent(&mut file);
            assert!(file.is_empty(), "{text:?}");
        }
        for text in ["tls: {cert: a, key: ''}", "tls: {crt: ''}", "tls: ''", "log: ", "service_name: ''"] {
            let mut file = file(text);
            drop_absent(&mut file);
            assert!(!file.is_empty(), "{text:?}");
        }
    }
}
