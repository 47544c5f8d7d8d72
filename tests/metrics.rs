//! What `/metrics` says, as those read it who watch the service: every metric stands in `docs/operations.md`, every metric
//! that stands there is served, and Prometheus's own tool has nothing to say of them.

use std::{
    collections::BTreeSet,
    env, fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::harness::{Authority, Node, TlsClient, dcs, eventually, free, message};

/// TLS for clients and operators, beside that for other data centres.
const TLS: &str = "tls: &tls { cert: '${DIR}/cert.pem', key: '${DIR}/key.pem' }\nadmin: { tls: *tls }\n";

/// From the start of both data centres.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Kask's, which keep their names whatever anybody says of them: dashboards and alerts know them.
const KASKS: [&str; 3] = ["http_requests_total", "http_request_duration_seconds", "kask_build_info"];

/// Both listeners' metrics, after requests of every kind and a handshake that failed.
fn served() -> [String; 2] {
    let authority = Authority::new();
    let issued = authority.issue(30);
    let (here, there) = (free(), free());
    let codfw = dcs::config("codfw", there, &dcs::tls_of("eqiad", here));
    let _codfw = dcs::launch_with_tls(&authority, "codfw", &codfw).start_without_waiting();
    let eqiad = format!("{TLS}{}", dcs::config("eqiad", here, &dcs::tls_of("codfw", there)));
    let launch = dcs::launch_with_tls(&authority, "eqiad", &eqiad);
    let node = launch.file("cert.pem", &issued.cert).file("key.pem", &issued.key).start_without_waiting();
    let client = TlsClient::trusting(&authority);
    eventually("it is ready", READY_WITHIN, || {
        let readyz = message("GET", "/readyz", &[], b"");
        let answer = client.open(node.address).and_then(|mut to| to.exchange(readyz));
        (answer.ok()?.status == 200).then_some(())
    });
    assert!(TlsClient::trusting(&Authority::new()).handshake(node.address).is_err());
    let mut data = client.open(node.address).unwrap();
    for (method, target, body) in [
        ("POST", "/sessions/v1/k", "v"),
        ("POST", "/sessions/v1/k", ""),
        ("GET", "/sessions/v1/k", ""),
        ("HEAD", "/sessions/v1/k", ""),
        ("DELETE", "/sessions/v1/k", ""),
        ("GET", "/sessions/v1/k", ""),
        ("BREW", "/sessions/v1/k", ""),
        ("GET", "/healthz", ""),
        ("GET", "/elsewhere", ""),
    ] {
        data.exchange(message(method, target, &[], body.as_bytes())).unwrap();
    }
    let admin = |node: &Node| client.open(node.admin_address).unwrap();
    // What only a job counts is served after one.
    assert_eq!(admin(&node).exchange(message("POST", "/v1/verify", &[], b"")).unwrap().status, 202);
    eventually("the job is done", Duration::from_secs(30), || {
        let answer = admin(&node).exchange(message("GET", "/v1/jobs/1", &[], b"")).unwrap();
        (answer.json()["state"] == "done").then_some(())
    });
    // Nothing is said of data centres before they were compared.
    eventually("the data centres are compared", Duration::from_secs(30), || {
        let answer = admin(&node).exchange(message("GET", "/metrics", &[], b"")).unwrap();
        answer.text().contains("\nsolera_dcs_agree{").then_some(())
    });
    [data, admin(&node)].map(|mut listener| {
        let answer = listener.exchange(message("GET", "/metrics", &[], b"")).unwrap();
        assert_eq!(answer.status, 200);
        answer.text().to_owned()
    })
}

fn names_served(text: &str) -> BTreeSet<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// The names in the first column of the table under "## Metrics".
fn names_documented() -> BTreeSet<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let text = fs::read_to_string(file).unwrap();
    let (_, section) = text.split_once("\n## Metrics\n").expect("a section on metrics");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let names = rows.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`'));
    names.map(|name| name.split('{').next().unwrap().trim_matches('`').to_owned()).collect()
}

#[test]
fn what_is_served_and_what_is_documented_are_the_same() {
    let documented = names_documented();
    assert!(KASKS.iter().all(|name| documented.contains(*name)), "{documented:?}");
    for text in served() {
        let served = names_served(&text);
        let missing = |from: &BTreeSet<String>, other: &BTreeSet<String>| -> Vec<String> {
            other.difference(from).cloned().collect()
        };
        let nothing = Vec::<String>::new();
        assert_eq!(missing(&documented, &served), nothing, "served, and not in docs/operations.md");
        assert_eq!(missing(&served, &documented), nothing, "in docs/operations.md, and not served");
    }
}

#[test]
#[ignore = "needs promtool: scripts/promtool.sh brings it and runs this"]
fn promtool_finds_nothing_to_say_of_our_metrics() {
    let promtool = env::var_os("SOLERA_PROMTOOL").expect("SOLERA_PROMTOOL, which scripts/promtool.sh sets");
    for text in served() {
        let mut check = Command::new(&promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start promtool");
        let mut stdin = check.stdin.take().unwrap();
        let writing = thread::spawn(move || stdin.write_all(text.as_bytes()));
        let checked = check.wait_with_output().unwrap();
        writing.join().unwrap().expect("promtool reads everything");
        let said = [checked.stdout, checked.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
        let of_ours = said.lines().filter(|line| !KASKS.iter().any(|name| line.starts_with(name)));
        assert_eq!(of_ours.collect::<Vec<_>>(), [""; 0]);
        assert!(checked.status.success() || !said.is_empty(), "{:?}", checked.status);
    }
}
