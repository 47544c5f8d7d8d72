//! The HTTP contract of Kask, which Solera replaces, and what Solera adds to it, as tables.
//!
//! Each table is data: a name, the bytes of a request, what must come back. Everything here holds for one data centre
//! without peers. Where Solera answers otherwise than Kask, `docs/differences-from-kask.md` says so.

mod table;

mod config;
mod keys;
mod logs;
mod metrics;
mod probes;
mod routing;
mod values;
mod wire;

use crate::harness::Node;

/// The base URI of the store that most tables talk to.
const BASE: &str = "/sessions/v1/";

/// A part of every key that must show up nowhere but in the store: no answer and no log line may contain it.
const SECRET: &str = "S3cretSessi0n";

/// Kask's file as it stands in production, credentials and all.
const KASK_FILE: &str = r#"service_name: sessions
base_uri: /sessions/v1
default_ttl: 86400
log_level: debug
cassandra:
  hosts: [ 127.0.0.1 ]
  port: 9042
  keyspace: sessions
  table: values
  local_dc: eqiad
  query_timeout_ms: 12000
  connect_timeout_ms: 5000
  authentication: { username: kask, password: cassandra-password }
  tls: { ca: /etc/ssl/ca.pem, enable_host_verification: true }
"#;

/// A node that was given Kask's file.
fn kask() -> Node {
    Node::serve(KASK_FILE)
}
