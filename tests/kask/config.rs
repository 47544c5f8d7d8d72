//! Kask's configuration file: what is taken as it is, what is ignored aloud, what is refused.

use super::{KASK_FILE, kask};
use crate::harness::{Launch, Node};

#[test]
fn a_base_uri_gets_the_slashes_that_it_lacks() {
    for (written, base) in [
        ("sessions/v1", "/sessions/v1/"),
        ("/sessions/v1", "/sessions/v1/"),
        ("sessions/v1/", "/sessions/v1/"),
        ("/sessions/v1/", "/sessions/v1/"),
        ("echoseen/v1", "/echoseen/v1/"),
        ("one", "/one/"),
        ("/", "/"),
    ] {
        let node = Node::serve(&format!("base_uri: {written}\n"));
        let target = format!("{base}k");
        assert_eq!(node.post(&target, "v").status, 201, "{written}");
        assert_eq!(node.get(&target).text(), "v", "{written}");
        let instance = node.get(&format!("{base}absent")).json()["instance"].to_string();
        assert!(instance.starts_with(&format!("\"{base}~")), "{written}: {instance}");
    }
}

#[test]
fn defaults_are_kasks() {
    let node = Node::serve("log_level: info\n");
    assert_eq!(node.post("/v1/k", "v").status, 201, "base_uri is /v1/");
    let read = node.get("/v1/k");
    assert!(read.header("Session-Expires").is_some(), "default_ttl is a day: {}", read.everything());
    let first = node.logs().into_iter().next().expect("a line at start");
    assert_eq!(first["appname"], "kask", "service_name is kask");
}

#[test]
fn cassandra_is_ignored_with_one_warning_that_names_it() {
    let node = kask();
    let about = |line: &serde_json::Value| {
        line["level"] == "WARNING" && line["msg"].as_str().is_some_and(|msg| msg.contains("cassandra"))
    };
    node.wait_for_log("a warning about cassandra", about);
    let warnings = node.logs().into_iter().filter(about).count();
    assert_eq!(warnings, 1, "{}", node.tail());
    assert!(!node.output().contains("cassandra-password"));
}

#[test]
fn secrets_are_made_once_with_one_warning_and_kept() {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    let mut node = kask();
    let about = |line: &serde_json::Value| {
        line["level"] == "WARNING" && line["msg"].as_str().is_some_and(|msg| msg.contains("secret"))
    };
    node.wait_for_log("a warning about secrets", about);
    let warned = |node: &Node| node.logs().into_iter().filter(about).count();
    assert_eq!(warned(&node), 1, "{}", node.tail());
    let instance = |node: &Node| node.get("/sessions/v1/absent").json()["instance"].to_string();
    let before = instance(&node);
    let files: Vec<_> = fs::read_dir(node.data_dir().join("secrets")).expect("list the secrets").collect();
    assert!(!files.is_empty(), "secrets are in the data directory");
    for file in files {
        let file = file.expect("list a secret");
        let mode = file.metadata().expect("look at a secret").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.path().display());
    }
    node.terminate();
    node.restart();
    assert_eq!(instance(&node), before, "the same secrets make the same key ids");
    assert_eq!(warned(&node), 1, "no second warning: they were there\n{}", node.tail());
}

/// A file that must not start a node, and a word that the refusal must say.
struct Refused {
    name: &'static str,
    config: &'static str,
    says: &'static str,
}

const REFUSED: &[Refused] = &[
    refused("an unknown key", "defalut_ttl: 5\n", "default_ttl"),
    refused("an unknown key in tls", "tls: { certt: /x, key: /y }\n", "certt"),
    refused("a fraction of a second", "default_ttl: 86400.5\n", "default_ttl"),
    refused("a negative TTL", "default_ttl: -1\n", "default_ttl"),
    refused("a TTL that is text", "default_ttl: a day\n", "default_ttl"),
    refused("a log level that Kask refuses", "log_level: WARN\n", "log_level"),
    refused("a certificate without its key", "tls: { cert: /nowhere/cert.pem }\n", "tls"),
    refused("a key without its certificate", "tls: { key: /nowhere/key.pem }\n", "tls"),
    refused("a negative port", "listen_port: -5\n", "listen_port"),
    refused("a port over 65535", "listen_port: 99999\n", "listen_port"),
    refused("the same key twice", "base_uri: /a\nbase_uri: /b\n", "base_uri"),
    refused("no YAML", "base_uri: [\n", "config.yaml"),
    refused("no map", "- base_uri\n", "config.yaml"),
];

const fn refused(name: &'static str, config: &'static str, says: &'static str) -> Refused {
    Refused { name, config, says }
}

#[test]
fn a_file_with_a_mistake_is_refused_with_its_key() {
    for Refused { name, config, says } in REFUSED {
        let exit = Launch::serve(config).run_to_exit();
        assert!(!exit.status.success(), "{name}: {}\n{}", exit.status, exit.output);
        assert!(exit.output.contains(says), "{name}: no {says:?} in\n{}", exit.output);
    }
}

#[test]
fn log_levels_are_kasks_in_any_case() {
    for level in ["debug", "INFO", "Warning", "eRRor", "fatal"] {
        let node = Node::serve(&format!("base_uri: /sessions/v1\nlog_level: {level}\n"));
        assert_eq!(node.post("/sessions/v1/k", "v").status, 201, "{level}");
    }
}

#[test]
fn the_single_hyphen_of_go_is_a_mistake_that_is_told() {
    let exit = Launch::serve(KASK_FILE).argument("-config").argument("/nowhere/config.yaml").run_to_exit();
    assert!(!exit.status.success(), "{}\n{}", exit.status, exit.output);
}
