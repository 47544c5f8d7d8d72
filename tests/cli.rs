//! The program's verbs, words and exit codes, as a shell sees them.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const SOLERA: &str = env!("CARGO_BIN_EXE_solera");

/// The whole configuration surface; most of it is not built yet.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/config/config-example.yaml");

fn run(program: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap()
}

fn solera(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = run(Path::new(SOLERA), arguments);
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn check_config_names_every_key_that_is_not_built_yet_and_serve_refuses_them() {
    let (code, said, _) = solera(&["check-config", EXAMPLE]);
    let keys: Vec<_> = said.lines().map(|line| line.split_once(": known, not built yet")).collect();
    let keys: Option<Vec<_>> = keys.into_iter().map(|split| split.map(|(key, _)| key)).collect();
    let expected = [
        "tls",
        "log.kafka",
        "peers",
        "audit",
        "checkpoints",
        "on_log_outage",
        "stores.anon.scope",
        "stores.anon.quota_bytes",
        "stores.anon.rate",
    ];
    assert_eq!((code, keys), (Some(1), Some(expected.to_vec())), "{said}");

    let (code, _, complaint) = solera(&["serve", "--config", EXAMPLE]);
    assert_eq!(code, Some(1));
    assert!(
        expected.iter().all(|key| complaint.contains(&format!("{key}: known, not built yet"))),
        "{complaint}"
    );
}

#[test]
fn check_config_accepts_what_serve_takes_and_says_what_a_slip_should_be() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        let (code, said, _) = solera(&["check-config", file.to_str().unwrap()]);
        (code, said)
    };
    assert_eq!(check("base_uri: /sessions/v1\n").0, Some(0));
    let (code, said) = check("base_urii: /sessions/v1\n");
    assert_eq!(code, Some(1));
    assert!(said.contains("base_urii") && said.contains("base_uri`"), "{said}");
    let (code, said) = check("default_ttl: soon\n");
    assert_eq!(code, Some(1));
    assert!(said.contains("default_ttl"), "{said}");
}

#[test]
fn wrong_words_are_a_matter_of_usage_and_missing_files_a_failure() {
    assert_eq!(solera(&["frobnicate"]).0, Some(2));
    assert_eq!(solera(&["serve"]).0, Some(2));
    assert_eq!(solera(&["dev", "--port-base", "65000"]).0, Some(2));
    assert_eq!(solera(&[]).0, Some(2));
    for arguments in [["check-config", "/nonexistent.yaml"].as_slice(), &["--config", "/nonexistent.yaml"]] {
        let (code, _, complaint) = solera(arguments);
        assert_eq!(code, Some(1));
        assert!(complaint.contains("/nonexistent.yaml"), "{complaint}");
    }
    assert_eq!(solera(&["version"]).0, Some(0));
    assert_eq!(solera(&["--help"]).0, Some(0));
}

#[test]
fn under_the_name_kask_it_looks_for_kasks_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let kask = dir.path().join("kask");
    std::os::unix::fs::symlink(SOLERA, &kask).unwrap();
    let asked_for =
        if Path::new("/etc/kask/config.yaml").exists() { return } else { "/etc/kask/config.yaml" };
    let Output { status, stderr, .. } = run(&kask, &[]);
    assert_eq!(status.code(), Some(1));
    assert!(String::from_utf8_lossy(&stderr).contains(asked_for));
}

#[test]
fn a_directory_serves_one_process_at_a_time() {
    let node = crate::harness::Node::dev();
    let data_dir = node.data_dir();
    // Port 0 cannot be asked for; a free one is far from the node's.
    let (code, _, complaint) =
        solera(&["dev", "--data-dir", data_dir.to_str().unwrap(), "--port-base", &free_port().to_string()]);
    assert_eq!(code, Some(1), "{complaint}");
    assert!(complaint.contains("open the store sessions"), "{complaint}");
    assert_eq!(node.post("/sessions/v1/k", "still there").status, 201);
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    if port <= 64_535 { port } else { port - 20_000 }
}
