//! The architecture, as the manifests and sources show it: which crate may know what.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Who may depend on which of ours: the arrows of ARCHITECTURE.md.
const EDGES: [(&str, &[&str]); 7] = [
    ("schemas", &[]),
    ("eventlog", &["schemas"]),
    ("writer", &["eventlog", "schemas"]),
    ("materializer", &["eventlog", "schemas"]),
    ("api", &["eventlog", "materializer", "schemas", "writer"]),
    ("server", &["api", "bench", "eventlog", "materializer", "schemas", "writer"]),
    ("bench", &["eventlog", "materializer", "schemas"]),
];

/// Which folders may name a library. Tests may name any.
const NAMED_ONLY_IN: [(&str, &[&str]); 7] = [
    ("rdkafka", &["eventlog/src/kafka", "bench/src/floors/kafka"]),
    ("rocksdb", &["eventlog/src/embedded", "materializer/src/sessions"]),
    ("axum", &["api/src", "bench/src/floors"]),
    ("hyper", &["api/src", "bench/src/floors", "server/src/commands", "writer/src/peer"]),
    (
        "aws_lc_rs",
        &[
            "api/src/access.rs",
            "api/src/seal.rs",
            "api/src/seal",
            "server/src/tls",
            "writer/src/peer/address.rs",
        ],
    ),
    ("rustls", &["api/src/tls.rs", "server/src/tls", "writer/src/peer"]),
    ("yaml_serde", &["server/src/config"]),
];

/// What `schemas` must not need.
const RUNTIMES: [&str; 6] = ["tokio", "rdkafka", "rocksdb", "axum", "hyper", "futures"];

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names under `[dependencies]` of a crate's manifest.
fn dependencies(of: &str) -> BTreeSet<String> {
    let manifest = read(&Path::new(ROOT).join(of).join("Cargo.toml"));
    let section = manifest.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let entries = section.take_while(|line| !line.starts_with('['));
    let name = |line: &str| line.split(['=', '.', ' ']).next().unwrap_or_default().to_owned();
    entries.filter(|line| !line.is_empty() && !line.starts_with('#')).map(name).collect()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn crates_depend_on_each_other_only_as_drawn() {
    let ours: BTreeMap<_, _> = EDGES.into_iter().collect();
    for (name, allowed) in EDGES {
        let found = dependencies(name);
        assert!(!found.is_empty(), "the manifest of {name} was read");
        let found: Vec<_> = found.iter().map(String::as_str).filter(|name| ours.contains_key(name)).collect();
        assert_eq!(found, allowed, "dependencies of {name}");
    }
}

#[test]
fn every_folder_with_a_manifest_is_a_member() {
    let members = read(&Path::new(ROOT).join("Cargo.toml"));
    let folders = fs::read_dir(ROOT).unwrap().map(|entry| entry.unwrap().path());
    for folder in folders.filter(|folder| folder.join("Cargo.toml").exists()) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(members.contains(&format!("\"{name}\"")), "{name} is a member of the workspace");
        assert!(EDGES.iter().any(|(known, _)| *known == name), "{name} has its edges here");
    }
}

#[test]
fn schemas_needs_no_runtime() {
    let found = dependencies("schemas");
    assert!(RUNTIMES.iter().all(|runtime| !found.contains(*runtime)), "{found:?}");
}

#[test]
fn libraries_are_named_only_where_they_belong() {
    for (name, _) in EDGES {
        for source in sources(&Path::new(ROOT).join(name).join("src")) {
            let text = read(&source);
            let path = source.strip_prefix(ROOT).unwrap();
            for (library, places) in NAMED_ONLY_IN {
                let named =
                    text.contains(&format!("{library}::")) || text.contains(&format!("use {library}"));
                let belongs = places.iter().any(|place| path.starts_with(place));
                assert!(!named || belongs, "{} names {library}", path.display());
            }
        }
    }
}

/// The one module that may say `unsafe`: what librdkafka's safe binding does not offer.
const UNSAFE_IN: &str = "eventlog/src/kafka/ffi.rs";

#[test]
fn unsafe_code_is_denied_in_every_crate_and_allowed_in_one_module() {
    assert!(read(&Path::new(ROOT).join("Cargo.toml")).contains("unsafe_code = \"deny\""));
    for (name, _) in EDGES {
        for source in sources(&Path::new(ROOT).join(name).join("src")) {
            let path = source.strip_prefix(ROOT).unwrap();
            let is_allowed = read(&source).contains("unsafe_code");
            assert_eq!(is_allowed, path == Path::new(UNSAFE_IN), "{} says `unsafe_code`", path.display());
        }
    }
    for (name, _) in EDGES {
        let manifest = read(&Path::new(ROOT).join(name).join("Cargo.toml"));
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} has lints of its own");
    }
}

/// No forks, no branches, no other registry: `deny.toml` says the same to whoever runs cargo-deny.
#[test]
fn every_dependency_is_a_release_from_the_one_registry() {
    let lock = read(&Path::new(ROOT).join("Cargo.lock"));
    let sources: Vec<_> = lock.lines().filter_map(|line| line.strip_prefix("source = ")).collect();
    assert!(100 < sources.len(), "the lockfile was read");
    let registry = "\"registry+https://github.com/rust-lang/crates.io-index\"";
    assert!(sources.iter().all(|source| *source == registry), "{sources:?}");
}
