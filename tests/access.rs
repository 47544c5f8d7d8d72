//! Who may do what: every route under every scope and every role, on both listeners, and what a stranger learns.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    process::{Command, Stdio},
    time::Duration,
};

use rustls::version::TLS13;

use crate::harness::{Authority, Connection, Launch, Node, Response, TlsClient, eventually, message};

const SESSION: &str = "/sessions/v1/k";

/// Two stores, and clients that are asked for on both listeners.
const CONFIG: &str = "\
    dc: eqiad\n\
    secrets: { index: { file: '${DIR}/index' }, ring: [ { id: 1, file: '${DIR}/ring' } ] }\n\
    stores:\n  sessions: { base_uri: /sessions/v1 }\n  echo: { base_uri: /echo/v1 }\n";

const OF_DATA: &str = "tokens_file: '${DIR}/tokens.yaml'\n";

const OF_ADMIN: &str = "admin: { listen: '127.0.0.1:${ADMIN_PORT}', tokens_file: '${DIR}/tokens.yaml', \
                        tls: { cert: '${DIR}/cert.pem', key: '${DIR}/key.pem' } }\n";

/// Every client is called as its token is, and may do this.
const CLIENTS: [(&str, &str); 8] = [
    ("reader", "stores: { sessions: [ read ] }"),
    ("writer", "stores: { sessions: [ write ] }"),
    ("deleter", "stores: { sessions: [ delete ], echo: [ read ] }"),
    ("everything", "stores: { sessions: [ read, write, delete ] }"),
    ("elsewhere", "stores: { echo: [ read, write, delete ] }"),
    ("watcher", "admin: status"),
    ("auditor", "admin: audit"),
    ("operator", "admin: operate"),
];

/// As an operator makes it.
fn sha256(token: &str) -> String {
    let mut sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    sum.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
    let said = String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap();
    said.split(' ').next().unwrap().to_owned()
}

fn tokens_file() -> String {
    let client = |(name, may): &(&str, &str)| {
        format!("  {name}: {{ tokens_sha256: [ '{}' ], {may} }}\n", sha256(name))
    };
    format!("clients:\n{}", CLIENTS.iter().map(client).collect::<String>())
}

fn launch(config: &str) -> Launch {
    let launch = Launch::serve(&format!("{CONFIG}{config}"));
    launch.file("index", [b'i'; 32]).file("ring", [b'r'; 32]).file("tokens.yaml", tokens_file())
}

/// A node whose two listeners know these clients, and who signs the certificate of the second.
fn start() -> (Node, TlsClient) {
    let authority = Authority::new();
    let issued = authority.issue(30);
    let launch = launch(&format!("{OF_DATA}{OF_ADMIN}log_level: debug\n"));
    let node = launch.file("cert.pem", issued.cert).file("key.pem", issued.key).start();
    (node, TlsClient::trusting(&authority))
}

/// Whose token comes with a request; an empty one is none.
fn request(method: &str, target: &str, token: &str, body: &str) -> Vec<u8> {
    let authorization = format!("Bearer {token}");
    let headers: &[_] = if token.is_empty() { &[] } else { &[("Authorization", &*authorization)] };
    message(method, target, headers, body.as_bytes())
}

fn assert_refusal(answer: &Response, status: u16, what: &str) {
    assert_eq!(answer.status, status, "{what}: {}", answer.everything());
    let challenge = answer.header("www-authenticate");
    assert_eq!(challenge, (status == 401).then_some("Bearer realm=\"solera\""), "{what}");
    assert_ne!(answer.header("content-length"), Some("0"), "{what}: {}", answer.everything());
    // To HEAD, only its length is told.
    if !answer.body.is_empty() {
        let problem = answer.json();
        let name = match status {
            401 => "https://www.mediawiki.org/wiki/Kask/errors/not_authorized",
            _ => "urn:solera:problem:forbidden",
        };
        assert_eq!(problem["type"], name, "{what}");
        assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
        assert!(!answer.everything().contains("outcome"), "{what}: {}", answer.everything());
    }
}

/// Each method, the scope that it takes, and what is answered to whoever has it. What is no method takes any.
const SESSION_ROUTES: [(&str, Option<&str>, u16); 8] = [
    ("POST", Some("write"), 201),
    ("GET", Some("read"), 200),
    ("HEAD", Some("read"), 200),
    ("DELETE", Some("delete"), 204),
    ("PUT", None, 400),
    ("PATCH", None, 400),
    ("OPTIONS", None, 400),
    ("BREW", None, 400),
];

/// Those that are asked nothing.
const OPEN_ROUTES: [&str; 6] = ["/healthz", "/livez", "/readyz", "/startupz", "/metrics", "/openapi"];

#[test]
fn every_route_of_the_data_listener_serves_the_scopes_that_it_takes_and_nobody_else() {
    let open: BTreeSet<_> = OPEN_ROUTES.into_iter().collect();
    assert_eq!(open, BTreeSet::from(api::RESERVED), "a route without a row in this table");
    let (node, _) = start();
    for (method, scope, served) in SESSION_ROUTES {
        let body = if method == "POST" { "v" } else { "" };
        for (token, expected) in [("", 401), ("nobody", 401), ("watcher", 403), ("elsewhere", 403)] {
            let answer = node.request(request(method, SESSION, token, body));
            assert_refusal(&answer, expected, &format!("{method} by {token:?}"));
        }
        for (token, scopes) in [("reader", &["read"][..]), ("writer", &["write"]), ("deleter", &["delete"])] {
            // So that there is something to read, whatever went before.
            assert_eq!(node.request(request("POST", SESSION, "everything", "v")).status, 201);
            let answer = node.request(request(method, SESSION, token, body));
            match scope.is_none_or(|scope| scopes.contains(&scope)) {
                true => assert_eq!(answer.status, served, "{method} by {token}"),
                false => assert_refusal(&answer, 403, &format!("{method} by {token}")),
            }
        }
        let answer = node.request(request(method, SESSION, "everything", body));
        assert!(answer.status == served || answer.status == 404, "{method}: {}", answer.everything());
    }
    for path in OPEN_ROUTES {
        for token in ["", "nobody", "reader"] {
            assert_eq!(node.request(request("GET", path, token, "")).status, 200, "{path} by {token:?}");
        }
    }
    let counted: u64 = node.metric("http_requests_total{code=\"401\",method=\"GET\"}");
    assert_eq!(counted, 2);
}

/// Without the date, and without what every answer has.
fn said(answer: &Response) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let told = answer.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("date"));
    (answer.status, told.cloned().collect(), answer.body.clone())
}

#[test]
fn who_may_not_ask_learns_nothing_of_sessions_whatever_is_asked() {
    let (node, _) = start();
    assert_eq!(node.request(request("POST", SESSION, "everything", "v")).status, 201);
    let long = format!("/sessions/v1/{}", "x".repeat(2000));
    let targets =
        [SESSION, "/sessions/v1/absent", "/sessions/v1/", "/sessions/v1/a/b", "/sessions/v1/%zz", &long];
    for (token, expected) in [("", 401), ("nobody", 401), ("writer", 403)] {
        let there = node.request(request("GET", SESSION, token, ""));
        assert_refusal(&there, expected, token);
        assert_eq!(there.json()["instance"], "/sessions/v1/");
        for target in targets {
            let other = node.request(request("GET", target, token, ""));
            assert_eq!(said(&other), said(&there), "{target} by {token:?}");
        }
        let query = node.request(request("GET", &format!("{SESSION}?a"), token, ""));
        assert_eq!(said(&query), said(&there), "a query by {token:?}");
    }
    let basic = message("GET", SESSION, &[("Authorization", "Basic cmVhZGVyOg==")], b"");
    assert_refusal(&node.request(basic), 401, "another scheme");
    let twice = [("Authorization", "Bearer reader"), ("Authorization", "Bearer reader")];
    assert_refusal(&node.request(message("GET", SESSION, &twice, b"")), 401, "two tokens");
    assert!(0 < node.logged("Refused a request"), "{}", node.tail());
    assert!(!node.output().contains("nobody"), "a token stands in the log");
    assert!(!node.output().contains("/absent"), "a key stands in the log");
}

/// Who may do as much as a role allows, and what is answered to him: as little as can be.
const ADMIN_ROUTES: [(&str, &str, &str, &str, &str, u16); 14] = [
    ("GET", "/v1/status", "/v1/status", "", "status", 200),
    ("GET", "/v1/peers", "/v1/peers", "", "status", 200),
    ("GET", "/metrics", "/metrics", "", "status", 200),
    ("GET", "/v1/secrets", "/v1/secrets", "", "status", 200),
    ("GET", "/v1/stores/{store}/hashes", "/v1/stores/sessions/hashes?cut=1&bucket=1", "", "status", 400),
    ("GET", "/v1/jobs/{id}", "/v1/jobs/7", "", "status", 404),
    ("GET", "/v1/stores/{store}/diff", "/v1/stores/sessions/diff", "", "audit", 400),
    ("PUT", "/v1/peers/{dc}", "/v1/peers/codfw", "{\"state\":\"up\"}", "operate", 404),
    ("POST", "/v1/rebuild", "/v1/rebuild?store=none", "", "operate", 404),
    ("POST", "/v1/verify", "/v1/verify?store=none", "", "operate", 404),
    ("POST", "/v1/checkpoint", "/v1/checkpoint?store=none", "", "operate", 404),
    ("POST", "/v1/repair", "/v1/repair", "{}", "operate", 400),
    ("DELETE", "/v1/jobs/{id}", "/v1/jobs/7", "", "operate", 404),
    ("POST", "/v1/secrets/{id}/retire", "/v1/secrets/9/retire", "", "operate", 404),
];

const ROLES: [(&str, &str); 3] = [("status", "watcher"), ("audit", "auditor"), ("operate", "operator")];

#[test]
fn every_route_of_the_admin_listener_serves_its_role_and_those_above_and_nobody_else() {
    let rows: BTreeSet<_> = ADMIN_ROUTES.iter().map(|row| (row.0.to_owned(), row.1)).collect();
    let routes = api::admin::ROUTES.into_iter().map(|route| (route.method.to_string(), route.path));
    assert_eq!(rows, routes.collect(), "a route without a row in this table");
    let (node, client) = start();
    let mut connection = client.open(node.admin_address).unwrap();
    let mut ask = |method: &str, target: &str, token: &str, body: &str| {
        connection.exchange(request(method, target, token, body)).unwrap()
    };
    for (method, path, target, body, role, served) in ADMIN_ROUTES {
        for (token, expected) in [("", 401), ("nobody", 401), ("everything", 403)] {
            let answer = ask(method, target, token, body);
            assert_refusal(&answer, expected, &format!("{method} {path} by {token:?}"));
        }
        let needed = ROLES.iter().position(|(name, _)| *name == role).unwrap();
        for (rank, (_, token)) in ROLES.iter().enumerate() {
            let answer = ask(method, target, token, body);
            if needed <= rank {
                assert_eq!(answer.status, served, "{method} {path} by {token}: {}", answer.everything());
            } else {
                assert_refusal(&answer, 403, &format!("{method} {path} by {token}"));
            }
        }
        if method == "GET" {
            assert_eq!(ask("HEAD", target, "", "").status, 401, "HEAD {path}");
            assert_eq!(ask("HEAD", target, "operator", "").status, served, "HEAD {path}");
        }
    }
    // What is not there is that to those alone whom somebody knows.
    assert_refusal(&ask("GET", "/v1/nothing", "", ""), 401, "no such path");
    assert_eq!(ask("GET", "/v1/nothing", "everything", "").status, 404);
    assert_refusal(&ask("POST", "/v1/status", "nobody", ""), 401, "no such method");
    let method = ask("POST", "/v1/status", "operator", "");
    assert_eq!((method.status, method.header("allow")), (405, Some("GET,HEAD")));
    // A session key that is sent to the wrong listener is repeated nowhere.
    let strayed = ask("GET", "/sessions/v1/straykey", "", "");
    assert_refusal(&strayed, 401, "a session on the admin listener");
    assert!(!strayed.everything().contains("straykey") && !node.output().contains("straykey"));
    assert!(0 < node.logged("Refused a request from 127.0.0.1:"), "{}", node.tail());
    assert_eq!(node.logged("operator asks for PUT /v1/peers/codfw"), 1, "{}", node.tail());
}

#[test]
fn a_certificate_is_as_good_as_a_token_for_whom_it_names() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let issued = authority.issue(30);
    let config = "tls: { cert: '${DIR}/cert.pem', key: '${DIR}/key.pem', client_ca: '${DIR}/clients.pem' }\n";
    let may = "stores: { sessions: [ read, write ] }";
    let file = format!(
        "clients:\n  wiki: {{ tls_names: [ other.example, wiki.example ], {may} }}\n  \
         ops: {{ tokens_sha256: [ '{}' ], stores: {{ sessions: [ delete ] }} }}\n",
        sha256("ops")
    );
    let launch = launch(&format!("{OF_DATA}{config}")).file("tokens.yaml", file);
    let launch = launch.file("cert.pem", issued.cert).file("key.pem", issued.key);
    let node = launch.file("clients.pem", clients.pem()).start();
    let connect = |name: &str| {
        let shows = clients.issue_for(name);
        TlsClient::of(&[&TLS13], &authority, Some(&shows)).open(node.address).unwrap()
    };
    let mut wiki = connect("wiki.example");
    for (method, token, expected) in [
        ("POST", "", 201),
        ("GET", "", 200),
        ("DELETE", "", 403),
        // A token counts before a certificate, for better or worse.
        ("DELETE", "ops", 204),
        ("GET", "ops", 403),
        ("GET", "nobody", 401),
        ("GET", "", 404),
    ] {
        let body = if method == "POST" { "v" } else { "" };
        let answer = wiki.exchange(request(method, SESSION, token, body)).unwrap();
        assert_eq!(answer.status, expected, "{method} {token:?}: {}", answer.everything());
    }
    let mut stranger = connect("stranger.example");
    let refused = stranger.exchange(request("GET", SESSION, "", "")).unwrap();
    assert_refusal(&refused, 401, "a certificate that no client has");
    assert_eq!(stranger.exchange(request("DELETE", SESSION, "ops", "")).unwrap().status, 204);

    // One that has the names of two clients is nobody's.
    let mut both = connect("a.example,DNS:b.example");
    let named = |names: [&str; 2]| {
        let client = |name: &str| format!("{}: {{ tls_names: [ {name} ], {may} }}", &name[..1]);
        format!("clients: {{ {} }}", names.map(client).join(", "))
    };
    reload(&node, &named(["a.example", "c.example"]));
    assert_eq!(both.exchange(request("GET", SESSION, "", "")).unwrap().status, 404);
    reload(&node, &named(["a.example", "b.example"]));
    assert_refusal(&both.exchange(request("GET", SESSION, "", "")).unwrap(), 401, "two clients");
    assert_eq!(node.logged("is that of a and of b, so of neither"), 1, "{}", node.tail());

    // The connection is the same, and the certificate is another client's.
    let given = "clients: { guest: { tls_names: [ stranger.example ], stores: { sessions: [ read ] } } }";
    reload(&node, given);
    assert_eq!(stranger.exchange(request("GET", SESSION, "", "")).unwrap().status, 404);
    assert_refusal(&wiki.exchange(request("GET", SESSION, "", "")).unwrap(), 401, "taken out");
}

/// Puts another list of clients in place, and waits until it is in use.
fn reload(node: &Node, tokens: &str) {
    let before = node.logged("tokens.yaml says now");
    fs::write(node.data_dir().parent().unwrap().join("tokens.yaml"), tokens).unwrap();
    node.signal("HUP");
    eventually("the clients are read again", Duration::from_secs(5), || {
        (before < node.logged("tokens.yaml says now")).then_some(())
    });
}

#[test]
fn clients_come_and_go_at_sighup_and_a_file_that_cannot_be_used_changes_nothing() {
    let node = launch(OF_DATA).start();
    let mut open = node.connect();
    let mut status = |token: &str| open.exchange(request("GET", SESSION, token, "")).unwrap().status;
    assert_eq!((status("reader"), status("late")), (404, 401));
    let with = |token: &str| {
        format!(
            "clients: {{ late: {{ tokens_sha256: [ '{}' ], stores: {{ sessions: [ read ] }} }} }}",
            sha256(token)
        )
    };
    reload(&node, &with("late"));
    assert_eq!((status("reader"), status("late")), (401, 404));

    let file = node.data_dir().parent().unwrap().join("tokens.yaml");
    for (errors, wrong) in (1..).zip(["clients: {}", "clients: { a: { tokens: hunter2 } }", "- hunter2"]) {
        fs::write(&file, wrong).unwrap();
        node.signal("HUP");
        eventually("it is told of", Duration::from_secs(5), || {
            (node.logged("The clients of tokens_file stay") == errors).then_some(())
        });
        assert_eq!((status("reader"), status("late")), (401, 404), "{wrong}");
    }
    assert!(!node.output().contains("hunter2"), "{}", node.tail());
    reload(&node, &with("reader"));
    assert_eq!((status("reader"), status("late")), (404, 401));
}

#[test]
fn check_config_and_a_start_say_all_that_is_wrong_with_a_list_of_clients_at_once() {
    let wrong = "clients:\n  a: { tokens_sha256: [ hunter2 ], stores: { session: [ read ] } }\n  b: { admn: status }\n";
    let launch = launch(OF_DATA).file("tokens.yaml", wrong);
    let file = launch.written_config();
    let checked = Command::new(env!("CARGO_BIN_EXE_solera")).arg("check-config").arg(file).output().unwrap();
    let said = String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
    let exit = launch.run_to_exit();
    assert_eq!((checked.status.code(), exit.status.code()), (Some(1), Some(1)), "{said}{}", exit.output);
    let named = "clients: { a: { tls_names: [ a.example ], stores: { sessions: [ read ] } } }";
    let node = self::launch(OF_DATA).file("tokens.yaml", named).start();
    assert_eq!(node.logged("clients.a.tls_names says nothing"), 1, "{}", node.tail());
    for told in [&said, &exit.output] {
        for words in [
            "clients.a.tokens_sha256[0]: found a text",
            "clients.a.stores: found `session`, needs stores of this node (did you mean `sessions`?)",
            "clients.b.admn: unknown key (did you mean `admin`?)",
            "clients.b: found neither, needs `tokens_sha256` or `tls_names`",
        ] {
            assert!(told.contains(words), "{words}: {told}");
        }
        assert!(told.contains("tokens.yaml") && !told.contains("hunter2"), "{told}");
    }
}

#[test]
fn an_admin_listener_off_loopback_takes_tls_and_clients_or_the_node_does_not_start() {
    for more in ["", ", tokens_file: '${DIR}/tokens.yaml'"] {
        let config = format!("admin: {{ listen: '0.0.0.0:${{ADMIN_PORT}}'{more} }}\n");
        let exit = launch(&config).run_to_exit();
        assert_eq!(exit.status.code(), Some(1), "{}", exit.output);
        assert!(exit.output.contains("admin.listen: found 0.0.0.0:"), "{}", exit.output);
    }
}

/// Exit code, and what was said, with a token in the environment or none.
fn solera(arguments: &[&str], token: Option<&str>) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_solera"));
    command.args(arguments).env_remove("SOLERA_TOKEN");
    if let Some(token) = token {
        command.env("SOLERA_TOKEN", token);
    }
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[test]
fn the_command_line_shows_a_token_or_a_certificate_and_makes_sure_whom_it_asks() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let (issued, ops) = (authority.issue(30), clients.issue_for("ops.example"));
    let file = format!("{}  ops: {{ tls_names: [ ops.example ], admin: operate }}\n", tokens_file());
    let with_ca = OF_ADMIN.replace("key.pem'", "key.pem', client_ca: '${DIR}/clients.pem'");
    let files = |launch: Launch| {
        let launch =
            launch.file("tokens.yaml", &file).file("cert.pem", &issued.cert).file("key.pem", &issued.key);
        launch.file("clients.pem", clients.pem()).file("ca.pem", authority.pem()).file("token", "operator\n")
    };
    let (by_token, by_certificate) = (
        files(launch(OF_ADMIN)).start(),
        files(launch(&with_ca)).file("o.pem", &ops.cert).file("o.key", &ops.key),
    );
    let path = |name: &str| by_token.data_dir().parent().unwrap().join(name).display().to_string();
    let (ca, token) = (path("ca.pem"), path("token"));
    let admin = format!("https://{}", by_token.admin_address);
    let ask = |more: &[&str], token| solera(&[&["verify", "--admin", &admin], more].concat(), token);
    assert_eq!(ask(&["--ca-cert", &ca, "--token-file", &token], None).0, Some(0));
    assert_eq!(ask(&["--ca-cert", &ca], Some("operator")).0, Some(0));
    let (code, said) = ask(&["--ca-cert", &ca], Some("watcher"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Forbidden (403)") && said.contains("watcher may not"), "{said}");
    let (code, said) = ask(&["--ca-cert", &ca], None);
    assert!(code == Some(1) && said.contains("Not authorized (401)"), "{said}");
    let (code, said) = ask(&[], Some("operator"));
    assert!(code == Some(1) && said.contains("needs --ca-cert"), "{said}");
    // Who it asks is not whom it trusts.
    let (code, said) = ask(&["--ca-cert", &path("clients.pem")], Some("operator"));
    assert_eq!(code, Some(4), "{said}");
    assert!(!said.contains("operator"), "{said}");

    let node = by_certificate.start();
    let path = |name: &str| node.data_dir().parent().unwrap().join(name).display().to_string();
    let address = node.admin_address.to_string();
    let shown = ["--cert", &path("o.pem"), "--key", &path("o.key"), "--ca-cert", &path("ca.pem")];
    assert_eq!(solera(&[&["peers", "--admin", &address], &shown[..]].concat(), None).0, Some(0));
    let (code, said) =
        solera(&["peers", "--admin", &address, "--ca-cert", &path("ca.pem")], Some("operator"));
    assert_eq!(code, Some(4), "without a certificate: {said}");
}

#[test]
fn without_a_list_of_clients_everything_is_as_ever() {
    let node = launch("").start();
    let ask = |address, request: Vec<u8>| -> io::Result<u16> {
        Ok(Connection::open(address)?.exchange(request)?.status)
    };
    assert_eq!(ask(node.address, request("POST", SESSION, "nobody", "v")).unwrap(), 201);
    assert_eq!(ask(node.address, request("GET", SESSION, "", "")).unwrap(), 200);
    assert_eq!(ask(node.admin_address, request("GET", "/v1/status", "nobody", "")).unwrap(), 200);
    assert_eq!(ask(node.admin_address, request("POST", "/v1/checkpoint", "", "")).unwrap(), 202);
}
