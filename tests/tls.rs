//! TLS on the data listener: whom it serves, what it refuses, and how its certificate is replaced.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};

use crate::harness::{Authority, Connection, Issued, Launch, Node, TlsClient, eventually, message, socket};

const TARGET: &str = "/sessions/v1/k";

const CONFIG: &str = "base_uri: /sessions/v1\ntls: { cert: '${DIR}/cert.pem', key: '${DIR}/key.pem' }\n";

/// From the order to read the files again to the line that tells of it.
const SOON: Duration = Duration::from_secs(5);

fn launch(config: &str, issued: &Issued) -> Launch {
    let launch = Launch::serve(config).file("cert.pem", &issued.cert).file("key.pem", &issued.key);
    fs::set_permissions(launch.dir().join("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    launch
}

/// With so many places. A file with limits is one of Solera's own, and needs secrets.
fn start_with_connections(connections_max: usize, issued: &Issued) -> Node {
    let config = format!(
        "{CONFIG}limits: {{ max_connections: {connections_max} }}\ndc: default\n\
         secrets: {{ index: {{ file: '${{DIR}}/index' }}, ring: [ {{ id: 1, file: '${{DIR}}/ring' }} ] }}\n"
    );
    launch(&config, issued).file("index", [b'i'; 32]).file("ring", [b'r'; 32]).start()
}

fn in_dir(node: &Node, name: &str) -> PathBuf {
    node.data_dir().parent().unwrap().join(name)
}

fn install(node: &Node, issued: &Issued) {
    fs::write(in_dir(node, "cert.pem"), &issued.cert).unwrap();
    fs::write(in_dir(node, "key.pem"), &issued.key).unwrap();
}

/// How many log lines of a level say this.
fn lines(node: &Node, level: &str, words: &str) -> usize {
    let says = |line: &&serde_json::Value| {
        line["level"] == level && line["msg"].as_str().is_some_and(|message| message.contains(words))
    };
    node.logs().iter().filter(says).count()
}

fn get(connection: &mut Connection) -> (u16, String) {
    let answer = connection.exchange(message("GET", TARGET, &[], b"")).unwrap();
    (answer.status, answer.text().to_owned())
}

fn metric(node: &Node, name: &str) -> i64 {
    let metrics = Connection::open(node.admin_address).unwrap();
    let text = { metrics }.exchange(message("GET", "/metrics", &[], b"")).unwrap();
    let line = text.text().lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

#[test]
fn a_client_that_checks_the_certificate_writes_reads_and_deletes() {
    let authority = Authority::new();
    let node = launch(CONFIG, &authority.issue(30)).start();
    for version in [&TLS12, &TLS13] {
        let client = TlsClient::of(&[version], &authority, None);
        let mut connection = client.open(node.address).unwrap();
        let mut ask = |method, body| connection.exchange(message(method, TARGET, &[], body)).unwrap();
        assert_eq!(ask("POST", b"over TLS").status, 201);
        assert_eq!(ask("GET", b"").text(), "over TLS");
        assert_eq!(ask("DELETE", b"").status, 204);
        assert_eq!(ask("GET", b"").status, 404);
        let spoken = client.handshake(node.address).unwrap();
        assert_eq!(spoken.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
    let large = vec![b'x'; 1_048_576];
    let mut connection = TlsClient::trusting(&authority).open(node.address).unwrap();
    assert_eq!(connection.exchange(message("POST", TARGET, &[], &large)).unwrap().status, 201);
    assert_eq!(connection.exchange(message("GET", TARGET, &[], b"")).unwrap().body, large);

    let stranger = TlsClient::trusting(&Authority::new()).handshake(node.address);
    assert!(stranger.is_err(), "a client that does not know the authority connected");
    assert_eq!(lines(&node, "INFO", "Starting service as https://"), 1);
    assert_eq!(lines(&node, "WARNING", "key"), 0, "{}", node.tail());
}

#[test]
fn plain_http_is_told_what_is_wrong_and_harms_nobody() {
    let authority = Authority::new();
    let node = launch(CONFIG, &authority.issue(30)).start();
    let mut bystander = TlsClient::trusting(&authority).open(node.address).unwrap();
    let failed = "solera_tls_handshake_failures_total{reason=\"plain_http\"}";
    let before = metric(&node, failed);
    for request in ["GET /sessions/v1/k HTTP/1.1\r\nHost: x\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut plain = node.connect();
        plain.send(request).unwrap();
        let answer = String::from_utf8(plain.receive_end().unwrap()).unwrap();
        let expected = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
        assert_eq!(answer, expected);
    }
    for nonsense in [&[0; 4096][..], &[0xff; 4096], b"\x16\x03\x01\x00\x05hello", b"SSH-2.0-x\r\n"] {
        let mut other = node.connect();
        // What it is told, if anything, is no HTTP that serves it.
        let _cut_off = other.send(nonsense);
        let answer = other.receive_end().unwrap_or_default();
        assert!(!answer.starts_with(b"HTTP/1.1"), "{answer:?}");
    }
    assert_eq!(get(&mut bystander).0, 404);
    assert_eq!(metric(&node, failed), before + 3, "two requests, and an SSH client that begins like one");
}

#[test]
fn with_client_ca_only_clients_with_a_certificate_of_it_are_served() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let config = CONFIG.replace(" }", ", client_ca: '${DIR}/clients.pem' }");
    let node = launch(&config, &authority.issue(30)).file("clients.pem", clients.pem()).start();
    let (known, stranger) = (clients.issue(30), authority.issue(30));
    for version in [&TLS12, &TLS13] {
        // In TLS 1.3 a client learns only when it reads that its certificate is not wanted.
        let served = |shows| {
            let mut connection = TlsClient::of(&[version], &authority, shows).open(node.address)?;
            connection.exchange(message("GET", TARGET, &[], b"")).map(|answer| answer.status)
        };
        assert!(served(None).is_err(), "without a certificate, {version:?}");
        assert!(served(Some(&stranger)).is_err(), "of another authority, {version:?}");
        assert_eq!(served(Some(&known)).unwrap(), 404, "{version:?}");
    }
    assert_eq!(metric(&node, "solera_tls_handshake_failures_total{reason=\"refused\"}"), 4);
}

#[test]
fn a_new_certificate_is_taken_over_under_load_and_no_request_fails() {
    let authority = Authority::new();
    let (old, new) = (authority.issue(20), authority.issue(25));
    let node = launch(CONFIG, &old).start();
    let client = TlsClient::trusting(&authority);
    let mut from_before = client.open(node.address).unwrap();
    assert_eq!(from_before.exchange(message("POST", TARGET, &[], b"v")).unwrap().status, 201);
    let expires = || metric(&node, "solera_tls_certificate_expires_timestamp_seconds");
    let expired_at_first = expires();

    let (done, served) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let mut connection = client.open(node.address).unwrap();
                    for _ in 0..3 {
                        assert_eq!(get(&mut connection), (200, "v".to_owned()));
                    }
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // The clients end whatever happens here.
        let reloads =
            thread::scope(|inner| inner.spawn(|| reload_often(&node, &client, &old, &new, &served)).join());
        done.store(true, Ordering::Relaxed);
        reloads.unwrap();
    });
    assert_eq!(get(&mut from_before), (200, "v".to_owned()), "the connection from before goes on");
    assert_eq!(client.shown(node.address).unwrap(), new.der());
    let later = expires() - expired_at_first - 5 * 86_400;
    assert!((0..60).contains(&later), "to the second, but for the time between the two: {later}");
    assert_eq!(lines(&node, "ERROR", ""), 0, "{}", node.tail());
}

fn reload_often(node: &Node, client: &TlsClient, old: &Issued, new: &Issued, served: &AtomicU32) {
    for round in 1..=9 {
        let issued = if round % 2 == 0 { old } else { new };
        let before = served.load(Ordering::Relaxed);
        install(node, issued);
        node.signal("HUP");
        eventually("the files are read again", SOON, || {
            (lines(node, "INFO", "New connections get the certificate") == round).then_some(())
        });
        assert_eq!(client.shown(node.address).unwrap(), issued.der(), "round {round}");
        eventually("clients are served", SOON, || {
            (before + 6 <= served.load(Ordering::Relaxed)).then_some(())
        });
    }
}

/// What may be wrong with the files: a name, the file, what is in it, and words that tell of it.
fn wrong_files(authority: &Authority) -> Vec<(&'static str, &'static str, Option<String>, &'static str)> {
    let other = authority.issue(30);
    let cut = other.cert.replace("-----END", "");
    vec![
        ("no certificate file", "cert.pem", None, "cannot read tls.cert"),
        ("an empty certificate file", "cert.pem", Some(String::new()), "has no certificate"),
        ("a certificate file that is no PEM", "cert.pem", Some("hunter2".to_owned()), "has no certificate"),
        ("a certificate that is cut off", "cert.pem", Some(cut), "has no certificate"),
        ("a certificate of another key", "cert.pem", Some(other.cert.clone()), "does not belong"),
        (
            "a certificate that is none",
            "cert.pem",
            Some("-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n".to_owned()),
            "cannot be used",
        ),
        ("no key file", "key.pem", None, "cannot read tls.key"),
        ("a certificate for a key", "key.pem", Some(other.cert), "has no private key"),
        ("a key of another certificate", "key.pem", Some(other.key), "does not belong"),
        (
            "a key that is none",
            "key.pem",
            Some("-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n".to_owned()),
            "cannot be used",
        ),
    ]
}

fn put(path: PathBuf, contents: Option<&str>) {
    match contents {
        Some(text) => fs::write(path, text).unwrap(),
        None => fs::remove_file(path).unwrap(),
    }
}

#[test]
fn files_that_cannot_be_used_leave_the_old_certificate_and_say_which_file_it_is() {
    let authority = Authority::new();
    let good = authority.issue(30);
    let node = launch(CONFIG, &good).start();
    let client = TlsClient::trusting(&authority);
    for (errors, (name, file, contents, words)) in (1..).zip(wrong_files(&authority)) {
        install(&node, &good);
        put(in_dir(&node, file), contents.as_deref());
        node.signal("HUP");
        eventually(name, SOON, || (lines(&node, "ERROR", "") == errors).then_some(()));
        let line = node.logs().into_iter().rfind(|line| line["level"] == "ERROR").unwrap();
        let message = line["msg"].as_str().unwrap();
        assert!(message.contains("The certificate in use stays"), "{name}: {message}");
        assert!(message.contains(words) && message.contains(file), "{name}: {message}");
        assert!(message.contains("SIGHUP again"), "{name}: {message}");
        assert_eq!(client.shown(node.address).unwrap(), good.der(), "{name}");
    }
    assert!(!node.output().contains("hunter2") && !node.output().contains("aHVudGVyMg"), "{}", node.tail());

    install(&node, &good);
    node.signal("HUP");
    node.wait_for_log("that the files are good again", |line| {
        line["msg"].as_str().is_some_and(|message| message.contains("New connections get the certificate"))
    });
}

#[test]
fn files_that_cannot_be_used_refuse_the_start_and_the_check() {
    let authority = Authority::new();
    let good = authority.issue(30);
    for (name, file, contents, words) in wrong_files(&authority) {
        let launch = launch(CONFIG, &good);
        put(launch.dir().join(file), contents.as_deref());
        let (checked, said) = check(&launch);
        // Where a file is checked, its certificate need not be.
        assert_eq!(checked, contents.is_none(), "{name}: {said}");
        assert!(said.contains(words) && said.contains(file), "{name}: {said}");
        let exit = launch.run_to_exit();
        assert_eq!(exit.status.code(), Some(1), "{name}: {}", exit.output);
        assert!(exit.output.contains(words) && exit.output.contains(file), "{name}: {}", exit.output);
    }
    let config = CONFIG.replace(" }", ", client_ca: '${DIR}/clients.pem' }");
    let launch = launch(&config, &good).file("clients.pem", "nobody");
    let (checked, said) = check(&launch);
    assert!(!checked && said.contains("tls.client_ca") && said.contains("clients.pem"), "{said}");
    let exit = launch.run_to_exit();
    assert!(!exit.status.success() && exit.output.contains("clients.pem"), "{}", exit.output);
}

/// Whether `solera check-config` accepts what would be started, and all that it says.
fn check(launch: &Launch) -> (bool, String) {
    let file = launch.written_config();
    let ended = Command::new(env!("CARGO_BIN_EXE_solera")).arg("check-config").arg(file).output().unwrap();
    let said = [ended.stdout, ended.stderr].concat();
    (ended.status.success(), String::from_utf8(said).unwrap())
}

#[test]
fn a_certificate_that_ends_soon_and_a_key_that_others_can_read_are_warned_of() {
    let authority = Authority::new();
    let launch = launch(CONFIG, &authority.issue(10));
    fs::set_permissions(launch.dir().join("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let (checked, said) = check(&launch);
    assert!(checked && said.contains("cert.pem ends at") && said.contains("mode 644"), "{said}");
    let node = launch.start();
    assert_eq!(lines(&node, "WARNING", "ends in 9 days"), 1, "{}", node.tail());
    assert_eq!(lines(&node, "WARNING", "key.pem can be read or written by others (mode 644"), 1);
}

/// Past the limit for a handshake, and short of twice of it.
const LET_GO_WITHIN: Duration = Duration::from_secs(18);

#[test]
fn whoever_does_not_finish_a_handshake_loses_the_place_and_others_are_served_meanwhile() {
    const SILENT: usize = 200;
    let authority = Authority::new();
    let node = start_with_connections(SILENT + 1, &authority.issue(30));
    let client = TlsClient::trusting(&authority);
    let mut bystander = client.open(node.address).unwrap();
    let begun = Instant::now();
    // Half of them begin, and go no further.
    let silent = (0..SILENT).map(|number| {
        let mut socket = socket(node.address).unwrap();
        if number % 2 == 0 {
            socket.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").unwrap();
        }
        socket
    });
    let silent: Vec<_> = silent.collect();
    assert_eq!(get(&mut bystander).0, 404, "while all other places are taken");
    // It waits for a place, which there is when the first of the silent ones are let go.
    let mut newcomer = client.open(node.address).unwrap();
    assert_eq!(get(&mut newcomer).0, 404);
    let waited = begun.elapsed();
    assert!(Duration::from_secs(9) < waited && waited < LET_GO_WITHIN, "{waited:?}");
    for mut socket in silent {
        let _alert = socket.read_to_end(&mut Vec::new());
    }
    assert!(begun.elapsed() < LET_GO_WITHIN, "{:?}", begun.elapsed());
    let timeouts = "solera_tls_handshake_failures_total{reason=\"timeout\"}";
    assert_eq!(metric(&node, timeouts), i64::try_from(SILENT).unwrap());
}

#[test]
fn whoever_takes_no_answer_loses_the_place() {
    let authority = Authority::new();
    let node = start_with_connections(2, &authority.issue(30));
    let client = TlsClient::trusting(&authority);
    let mut bystander = client.open(node.address).unwrap();
    let large = vec![b'x'; 1_048_576];
    assert_eq!(bystander.exchange(message("POST", TARGET, &[], &large)).unwrap().status, 201);
    let mut greedy = client.open(node.address).unwrap();
    // More than all buffers between the two hold.
    greedy.send(message("GET", TARGET, &[], b"").repeat(64)).unwrap();
    let begun = Instant::now();
    let address = node.address;
    let newcomer = thread::spawn(move || serves(&client, address));
    while !newcomer.is_finished() {
        assert_eq!(bystander.exchange(message("HEAD", TARGET, &[], b"")).unwrap().status, 200);
        assert!(begun.elapsed() < Duration::from_secs(60), "the place was not given back");
        thread::park_timeout(Duration::from_millis(200));
    }
    newcomer.join().unwrap();
    assert!(Duration::from_secs(25) < begun.elapsed(), "{:?}", begun.elapsed());
}

/// Connects again for as long as there is no place, and asks.
fn serves(client: &TlsClient, address: SocketAddr) {
    eventually("a place", Duration::from_secs(60), || {
        let mut connection = client.open(address).ok()?;
        let answer = connection.exchange(message("HEAD", TARGET, &[], b"")).ok()?;
        (answer.status == 200).then_some(())
    });
}

/// The greeting of a client that knows TLS 1.`minor` and nothing later.
fn greeting(minor: u8) -> Vec<u8> {
    let mut body = vec![3, 1 + minor];
    body.extend([7; 32]);
    // No session; ECDHE-ECDSA with AES-128-GCM; no compression.
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]);
    // Extensions: ECDSA with SHA-256, P-256.
    body.extend([0, 16, 0, 13, 0, 4, 0, 2, 4, 3, 0, 10, 0, 4, 0, 2, 0, 23]);
    let length = u8::try_from(body.len()).unwrap();
    [&[0x16, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

#[test]
fn tls_1_1_is_refused_with_the_alert_that_says_so() {
    let authority = Authority::new();
    let node = launch(CONFIG, &authority.issue(30)).start();
    let answer = |minor| {
        let mut socket = socket(node.address).unwrap();
        socket.write_all(&greeting(minor)).unwrap();
        let mut answer = [0; 7];
        socket.read_exact(&mut answer).unwrap();
        answer
    };
    // A handshake goes on with 1.2.
    assert_eq!(answer(2)[..3], [0x16, 3, 3]);
    // A fatal alert, protocol_version.
    assert_eq!(answer(1), [0x15, 3, 3, 0, 2, 2, 70]);
}

#[test]
fn a_stop_lets_requests_finish_and_says_goodbye() {
    let authority = Authority::new();
    let mut node = launch(CONFIG, &authority.issue(30)).start();
    let client = TlsClient::trusting(&authority);
    let mut idle = client.open(node.address).unwrap();
    assert_eq!(get(&mut idle).0, 404);
    let mut busy = client.open(node.address).unwrap();
    let request = message("POST", TARGET, &[("Expect", "100-continue")], b"half and half");
    let (before, after) = request.split_at(request.len() - 4);
    busy.send(before).unwrap();
    assert_eq!(busy.receive_interim().unwrap(), 100, "the request is at work");
    node.signal("TERM");
    // The end of a TLS stream that comes without a goodbye is an error to the client.
    assert_eq!(idle.receive_end().unwrap(), b"", "the idle connection is closed in order");
    busy.send(after).unwrap();
    assert_eq!(busy.receive().unwrap().status, 201);
    assert_eq!(busy.receive_end().unwrap(), b"");
    assert_eq!(node.ends().code(), Some(0), "{}", node.tail());
    let gone = client.open(node.address).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::ConnectionRefused);
}
