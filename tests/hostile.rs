//! Requests that mean harm or make no sense. None is answered with a server error, none is taken for another request, and
//! a client that behaves notices nothing.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::harness::{Connection, Node, message};

const KEY: &str = "/sessions/v1/victim";
const VALUE: &str = "the victim's session";

/// Mutated requests beside the corpus.
const MUTATIONS: u64 = 1_500;

/// A node with a session, and a client that behaves, on one connection all the time.
struct Bench {
    node: Node,
    bystander: Connection,
}

impl Bench {
    fn new() -> Self {
        let node = Node::serve("base_uri: /sessions/v1\n");
        assert_eq!(node.post(KEY, VALUE).status, 201);
        let bystander = node.connect();
        Self { node, bystander }
    }

    /// Sends bytes as they are, says that no more come, and takes everything that is answered.
    fn send(&mut self, name: &str, bytes: &[u8]) {
        let mut connection = self.node.connect();
        // A server that has heard enough closes, and the rest cannot be sent.
        let _cut_off = connection.send(bytes).and_then(|()| connection.finish_sending());
        let answered = connection.receive_end().unwrap_or_default();
        for status in statuses(&answered) {
            assert!(status < 500, "{name}: {}", String::from_utf8_lossy(&answered));
        }
        let read = self.bystander.exchange(message("GET", KEY, &[], b"")).expect("the bystander is served");
        assert_eq!((read.status, read.text()), (200, VALUE), "after {name}");
    }
}

/// The status of each answer in a stream of answers.
fn statuses(answered: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answered);
    let lines = text.split("HTTP/1.").skip(1);
    lines.filter_map(|line| line.get(2..5)?.parse().ok()).collect()
}

fn corpus() -> Vec<(&'static str, Vec<u8>)> {
    let post = |headers: &str, body: &str| {
        format!("POST {KEY} HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}").into_bytes()
    };
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
    let line = |line: &str| format!("{line}\r\nHost: x\r\n\r\n").into_bytes();
    let hidden = "DELETE /sessions/v1/victim HTTP/1.1\r\nHost: x\r\n\r\n";
    let te = "Transfer-Encoding: chunked\r\n";
    vec![
        ("nothing", Vec::new()),
        ("one byte", b"G".to_vec()),
        ("line breaks", b"\r\n\r\n\r\n\r\n".to_vec()),
        ("zeros", vec![0; 4_096]),
        ("0xff", vec![0xff; 4_096]),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ("Redis", b"*1\r\n$4\r\nPING\r\n".to_vec()),
        ("no version", line("GET /sessions/v1/victim")),
        ("HTTP/0.9", line("GET /sessions/v1/victim HTTP/0.9")),
        ("HTTP/9.9", line("GET /sessions/v1/victim HTTP/9.9")),
        ("two spaces", line("GET  /sessions/v1/victim  HTTP/1.1")),
        ("a tab", line("GET\t/sessions/v1/victim\tHTTP/1.1")),
        ("no target", line("GET HTTP/1.1")),
        ("an empty target", line("GET  HTTP/1.1")),
        ("an asterisk", line("OPTIONS * HTTP/1.1")),
        ("CONNECT", line("CONNECT localhost:22 HTTP/1.1")),
        ("TRACE", line("TRACE /sessions/v1/victim HTTP/1.1")),
        ("a long method", line(&format!("{} / HTTP/1.1", "A".repeat(10_000)))),
        ("a method of symbols", line("!#$%&'*+-.^_`|~ / HTTP/1.1")),
        ("a control character in the target", get("/sessions/v1/a\u{1}b")),
        ("a zero in the target", get("/sessions/v1/a\0b")),
        ("an escaped zero", get("/sessions/v1/a%00b")),
        ("escaped line breaks", get("/sessions/v1/a%0d%0aX-Evil:%201")),
        ("half an escape", get("/sessions/v1/%")),
        ("an escape of nonsense", get("/sessions/v1/%zz")),
        ("an overlong escape", get("/sessions/v1/%c0%af..%c0%afetc")),
        ("upwards", get("/sessions/v1/../../etc/passwd")),
        ("upwards, escaped", get("/sessions/v1/%2e%2e%2f%2e%2e%2fetc%2fpasswd")),
        ("a backslash", get("/sessions/v1/..\\..\\etc")),
        ("a scheme in the path", get("/sessions/v1/http://evil/")),
        ("another host", get("http://evil/sessions/v1/other")),
        ("another scheme", get("ftp://x/sessions/v1/other")),
        ("a fragment", get("/sessions/v1/victim#x")),
        ("only a fragment", get("#")),
        ("a long key", get(&format!("/sessions/v1/{}", "k".repeat(60_000)))),
        ("a long target", get(&format!("/{}", "k".repeat(200_000)))),
        ("many segments", get(&format!("/sessions/v1{}", "/a".repeat(5_000)))),
        ("many escapes", get(&format!("/sessions/v1/{}", "%41".repeat(10_000)))),
        ("a long query", get(&format!("/sessions/v1/victim?{}", "q=1&".repeat(10_000)))),
        ("a header without a colon", post("Nonsense\r\n", "")),
        ("a header without a name", post(": value\r\n", "")),
        ("a space before the colon", post("Content-Length : 5\r\n", "12345")),
        ("a folded header", post("X: a\r\n b\r\n", "")),
        ("a line feed alone", b"GET /sessions/v1/victim HTTP/1.1\nHost: x\n\n".to_vec()),
        ("a carriage return alone", b"GET /sessions/v1/victim HTTP/1.1\rHost: x\r\r".to_vec()),
        ("a zero in a header", post("X: a\0b\r\n", "")),
        ("many headers", post(&"X: y\r\n".repeat(1_000), "")),
        ("a large header", post(&format!("X: {}\r\n", "y".repeat(500_000)), "")),
        (
            "a large Session-Ttl",
            post(&format!("Session-Ttl: {}\r\nContent-Length: 1\r\n", "9".repeat(5_000)), "x"),
        ),
        ("a negative length", post("Content-Length: -1\r\n", "x")),
        ("a signed length", post("Content-Length: +1\r\n", "x")),
        ("a length in hex", post("Content-Length: 0x1\r\n", "x")),
        ("a length of nonsense", post("Content-Length: one\r\n", "x")),
        ("an enormous length", post("Content-Length: 99999999999999999999999\r\n", "x")),
        ("a length of 16 EiB", post("Content-Length: 18446744073709551615\r\n", "x")),
        ("a length over the limit", post("Content-Length: 1048577\r\n", "x")),
        ("two lengths", post("Content-Length: 1\r\nContent-Length: 50\r\n", hidden)),
        ("a list of lengths", post("Content-Length: 1, 50\r\n", hidden)),
        ("a length and chunks", post(&format!("Content-Length: 5\r\n{te}"), &format!("0\r\n\r\n{hidden}"))),
        ("chunks and a length", post(&format!("{te}Content-Length: 5\r\n"), &format!("0\r\n\r\n{hidden}"))),
        ("chunks, then another request", post(te, &format!("1\r\nx\r\n0\r\n\r\n{hidden}"))),
        ("another encoding", post("Transfer-Encoding: identity\r\n", hidden)),
        ("chunks that are not last", post("Transfer-Encoding: chunked, gzip\r\n", hidden)),
        ("chunks misspelt", post("Transfer-Encoding: xchunked\r\n", hidden)),
        ("chunks after a tab", post("Transfer-Encoding:\tchunked\r\n", &format!("0\r\n\r\n{hidden}"))),
        ("chunks twice", post(&te.repeat(2), &format!("0\r\n\r\n{hidden}"))),
        ("a negative chunk", post(te, "-1\r\nx\r\n0\r\n\r\n")),
        ("an enormous chunk", post(te, "ffffffffffffffffff\r\nx\r\n0\r\n\r\n")),
        ("a chunk of 16 EiB", post(te, "ffffffffffffffff\r\nx\r\n0\r\n\r\n")),
        ("a chunk that lies", post(te, &format!("1\r\nxx\r\n0\r\n\r\n{hidden}"))),
        ("a chunk with a long extension", post(te, &format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(100_000)))),
        ("large trailers", post(te, &format!("1\r\nx\r\n0\r\n{}\r\n", "T: y\r\n".repeat(20_000)))),
        ("many tiny chunks", post(te, &format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(20_000)))),
        (
            "a body in a GET",
            format!("GET {KEY} HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\n{hidden}").into_bytes(),
        ),
        ("an upgrade", post("Connection: Upgrade\r\nUpgrade: websocket\r\n", "")),
        (
            "an upgrade to HTTP/2",
            post("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n", ""),
        ),
        ("many requests at once", get("/livez").repeat(2_000)),
    ]
}

#[test]
fn hostile_requests_harm_nobody() {
    let mut bench = Bench::new();
    let corpus = corpus();
    assert!(60 <= corpus.len());
    for (name, bytes) in &corpus {
        // A session may be overwritten by who knows its key; what must not be is that it is by a hidden request.
        if name.starts_with("many tiny") || name.contains("trailers") || name.contains("long extension") {
            let elsewhere = String::from_utf8_lossy(bytes).replace("victim", "elsewhere");
            bench.send(name, elsewhere.as_bytes());
        } else if name.starts_with("chunk") || name.contains("length") {
            let carrier = String::from_utf8_lossy(bytes).replacen("victim", "carrier", 1);
            bench.send(name, carrier.as_bytes());
        } else {
            bench.send(name, bytes);
        }
    }
}

/// The process stands still meanwhile, so that what is taken is taken by the system alone.
#[test]
fn a_burst_of_connections_waits_for_its_turn_and_is_not_dropped() {
    let limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let burst = limit.trim().parse::<usize>().unwrap().min(500);
    let node = Node::serve("base_uri: /sessions/v1\n");
    node.signal("STOP");
    // One that is dropped tries again after a second.
    let wait = Duration::from_millis(900);
    let waiting: std::io::Result<Vec<_>> =
        (0..burst).map(|_| std::net::TcpStream::connect_timeout(&node.address, wait)).collect();
    node.signal("CONT");
    assert_eq!(waiting.map(|waiting| waiting.len()).expect("all have a place to wait in"), burst);
    assert_eq!(node.get("/livez").status, 200);
}

/// The corpus with bytes changed, cut out, doubled and cut off, by a seed.
#[test]
fn mutations_of_hostile_requests_harm_nobody_either() {
    let mut bench = Bench::new();
    let corpus = corpus();
    for seed in 0..MUTATIONS {
        let mut chance = StdRng::seed_from_u64(seed);
        let (_, bytes) = &corpus[chance.random_range(0..corpus.len())];
        let mut bytes = bytes[..bytes.len().min(4_096)].to_vec();
        // A mutation may well be a good request: for another key.
        while let Some(at) = bytes.windows(6).position(|window| window == b"victim") {
            bytes[at..at + 6].copy_from_slice(b"nobody");
        }
        for _ in 0..chance.random_range(1..6) {
            mutate(&mut bytes, &mut chance);
        }
        bench.send(&format!("seed {seed}"), &bytes);
    }
}

fn mutate(bytes: &mut Vec<u8>, chance: &mut StdRng) {
    if bytes.is_empty() {
        return bytes.push(chance.random());
    }
    let at = chance.random_range(0..bytes.len());
    match chance.random_range(0..5) {
        0 => bytes[at] = chance.random(),
        1 => bytes[at] = *b"\r\n\t :#%/\0\xff0".get(chance.random_range(0..12)).unwrap_or(&b' '),
        2 => drop(bytes.remove(at)),
        3 => bytes.insert(at, bytes[at]),
        _ => bytes.truncate(at),
    }
}

/// Connections that open and say nothing, or half of something, while others work.
#[test]
fn slow_clients_do_not_slow_others() {
    let mut bench = Bench::new();
    let mut slow: Vec<_> = (0..500).map(|_| bench.node.connect()).collect();
    for (n, connection) in slow.iter_mut().enumerate() {
        let half = ["", "GET /sess", "POST /sessions/v1/k HTTP/1.1\r\nContent-Length: 1000\r\n\r\nx"][n % 3];
        connection.send(half).expect("the server reads");
    }
    let begun = std::time::Instant::now();
    for _ in 0..200 {
        bench.send("slow clients", b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
