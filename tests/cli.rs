//! The program's verbs, words and exit codes, as a shell sees them.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::harness::Launch;

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
    let expected = ["audit", "stores.anon.scope", "stores.anon.quota_bytes"];
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
    for arguments in [&[][..], &["--data-dir", dir.path().to_str().unwrap()]] {
        let Output { status, stderr, .. } = run(&kask, arguments);
        assert_eq!(status.code(), Some(1));
        assert!(String::from_utf8_lossy(&stderr).contains("read /etc/kask/config.yaml"), "is it there?");
    }
    // With Kask's own arguments it does what Kask does with them.
    let wrong = dir.path().join("wrong.yaml");
    fs::write(&wrong, "listen_port: 0\n").unwrap();
    let Output { status, stderr, .. } = run(&kask, &["--config", wrong.to_str().unwrap()]);
    assert_eq!(status.code(), Some(1));
    assert!(String::from_utf8_lossy(&stderr).contains("listen_port"));
}

#[test]
fn an_answer_that_nobody_takes_is_a_failure_and_no_panic() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = Command::new(SOLERA).arg("version").stdout(full).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("standard output"));
}

#[test]
fn a_hang_up_reloads_the_level_of_the_log_and_nothing_else() {
    let node = Launch::serve("base_uri: /sessions/v1\nlog_level: warning\n").start();
    let config = node.data_dir().parent().unwrap().join("config.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let refused = || node.logs().iter().filter(|line| line["level"] == "DEBUG").count();
    let bad_request = || assert_eq!(node.get("/sessions/v1/k?x").status, 400);

    bad_request();
    assert_eq!(refused(), 0);
    fs::write(&config, text.replace("warning", "debug")).unwrap();
    node.signal("HUP");
    node.wait_for_log("that the file was read", |line| says(line, "the log level is Debug"));
    bad_request();
    node.wait_for_log("a line of the new level", |line| line["level"] == "DEBUG");

    fs::write(&config, "listen_port: wrong\n").unwrap();
    node.signal("HUP");
    let complaint = node.wait_for_log("what is wrong", |line| says(line, "Nothing was changed"));
    assert!(says(&complaint, "listen_port"), "{complaint}");
    assert_eq!(node.post("/sessions/v1/k", "v").status, 201, "it goes on");
}

fn says(line: &serde_json::Value, words: &str) -> bool {
    line["msg"].as_str().is_some_and(|message| message.contains(words))
}

#[test]
fn a_directory_serves_one_process_at_a_time() {
    let node = crate::harness::Node::dev();
    let data_dir = node.data_dir();
    // Port 0 cannot be asked for; a free one is far from the node's.
    let (code, _, complaint) =
        solera(&["dev", "--data-dir", data_dir.to_str().unwrap(), "--port-base", &free_port().to_string()]);
    assert_eq!(code, Some(1), "{complaint}");
    assert!(complaint.contains("another process works in"), "{complaint}");
    assert_eq!(node.post("/sessions/v1/k", "still there").status, 201);
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    if port <= 64_535 { port } else { port - 20_000 }
}
