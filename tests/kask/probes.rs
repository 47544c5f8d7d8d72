//! The paths beside the stores: `/healthz`, `/livez`, `/readyz`, `/startupz`, `/openapi`.

use super::table::{Body, Expect, Headers, Instance, Is, Kind, Then, check, compare, problem, row};
use super::{BASE, kask};
use crate::harness::{Launch, Response, message};

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"];

/// What `{{- .BaseURI -}}` stands for in a specification.
const PLACE: &str = "{{- .BaseURI -}}";

fn at(method: &str, target: &str) -> Vec<u8> {
    message(method, target, &[], b"")
}

#[test]
fn healthz_is_kasks_for_any_method_and_query() {
    let node = kask();
    let healthy = node.get("/healthz");
    let fields = healthy.json();
    let field = |name: &str| {
        let text = fields[name].as_str().unwrap_or_else(|| panic!("{name} in {}", healthy.text()));
        assert!(!text.is_empty(), "{name} is empty");
        text
    };
    let (version, date, host) = (field("version"), field("build_date"), field("build_host"));
    let rustc = field("go_version");
    let layout = format!(
        "{{\n  \"version\": \"{version}\",\n  \"build_date\": \"{date}\",\n  \"build_host\": \"{host}\",\n  \
         \"go_version\": \"{rustc}\"\n}}"
    );
    assert_eq!(healthy.text(), layout, "Kask's layout, without a newline at the end");

    let headers = vec![
        ("Content-Type", Is::Text("application/json")),
        ("Content-Length", Is::Length),
        ("Date", Is::Present),
    ];
    let expect = Expect {
        status: 200,
        headers: Headers::Exactly(headers),
        body: Body::Exactly(layout.into_bytes()),
        then: Then::Open,
    };
    for method in METHODS {
        let expect = if method == "HEAD" { expect.clone().without_body() } else { expect.clone() };
        for target in ["/healthz", "/healthz?", "/healthz?verbose=1"] {
            let response = node.request(at(method, target));
            assert_eq!(compare(&expect, &response), Ok(()), "{method} {target}: {}", response.everything());
        }
    }
    let posted = row("POST with a body", message("POST", "/healthz", &[], b"ignored"), expect.unread_body());
    check(&node, &[posted]);
}

#[test]
fn the_probes_of_kubernetes_are_200_on_a_ready_node() {
    let node = kask();
    for target in ["/livez", "/readyz", "/startupz"] {
        let brief = node.get(target);
        assert_eq!(brief.status, 200, "{target}: {}", brief.everything());
        let verbose = node.get(&format!("{target}?verbose"));
        assert_eq!(verbose.status, 200, "{target}?verbose: {}", verbose.everything());
        assert!(!verbose.body.is_empty(), "{target}?verbose names its checks");
        let head = node.request(at("HEAD", target));
        assert_eq!((head.status, head.body.len()), (200, 0), "HEAD {target}");
    }
    check(&node, &[row("and keep the connection", at("GET", "/readyz"), any(200))]);
}

#[test]
fn reserved_paths_answer_any_method() {
    let node = kask();
    for target in ["/metrics", "/openapi"] {
        for method in METHODS {
            let response = node.request(at(method, target));
            assert_eq!(response.status, 200, "{method} {target}: {}", response.everything());
        }
        assert_eq!(node.get(&format!("{target}?x=1")).status, 200, "{target} with a query");
    }
}

#[test]
fn openapi_serves_our_specification_for_the_base_uri() {
    let node = kask();
    let served = node.get("/openapi");
    let expected = include_str!("../../api/openapi.yaml").replace(PLACE, BASE);
    assert_eq!(compare(&specification(&expected), &served), Ok(()));
    assert!(served.text().contains("\"/sessions/v1/{key}\""), "{}", served.text());
    assert!(!served.text().contains("{{"), "every place is filled");
    assert_eq!(served.text().matches("KASK:K:INTEGRATION_TEST_KEY").count(), 2, "service-checker's pair");
}

#[test]
fn openapi_serves_the_configured_specification() {
    let spec = "openapi: 3.0.2\npaths:\n  \"{{- .BaseURI -}}{key}\": {}\n# {{- .BaseURI -}} twice\n";
    let node = Launch::serve("base_uri: /sessions/v1\nopenapi_spec: ${DIR}/spec.yaml\n")
        .file("spec.yaml", spec)
        .start();
    let served = node.get("/openapi");
    let filled = served.text().replace(char::is_whitespace, "");
    assert!(filled.contains("paths:\"/sessions/v1/{key}\":{}"), "{}", served.text());
    assert!(filled.contains("#/sessions/v1/twice"), "{}", served.text());
    assert_eq!(served.header("Content-Type"), Some("application/x-yaml"));
}

#[test]
fn a_bad_specification_is_a_500_and_the_service_starts() {
    let expect = problem(500, Kind::ServerError, &[], Instance::Anything);
    let config = "base_uri: /sessions/v1\nopenapi_spec: ${DIR}/spec.yaml\n";
    let unclosed = Launch::serve(config).file("spec.yaml", "paths: \"{{ .BaseURI\"\n").start();
    let unknown = Launch::serve(config).file("spec.yaml", "paths: \"{{ .Nothing }}\"\n").start();
    let absent = Launch::serve(config).start();
    for (name, node) in [("unclosed", unclosed), ("unknown", unknown), ("absent", absent)] {
        let response = node.get("/openapi");
        assert_eq!(compare(&expect, &response), Ok(()), "{name}: {}", response.everything());
        assert_eq!(node.post("/sessions/v1/k", "v").status, 201, "{name}: the store serves");
        assert_eq!(node.get("/healthz").status, 200, "{name}");
    }
}

fn specification(text: &str) -> Expect {
    let headers = vec![
        ("Content-Type", Is::Text("application/x-yaml")),
        ("Content-Length", Is::Length),
        ("Date", Is::Present),
    ];
    let body = Body::Exactly(text.as_bytes().to_vec());
    Expect { status: 200, headers: Headers::Exactly(headers), body, then: Then::Open }
}

fn any(status: u16) -> Expect {
    Expect { status, headers: Headers::Any, body: Body::Any, then: Then::Open }
}

#[test]
fn nothing_of_a_session_is_on_the_paths_beside_the_stores() {
    let node = kask();
    node.post(&format!("{BASE}{}", super::SECRET), "a value nobody may see");
    node.get(&format!("{BASE}{}", super::SECRET));
    let told = |response: &Response| {
        let text = response.everything();
        text.contains(super::SECRET) || text.contains("nobody may see")
    };
    for target in
        ["/healthz", "/livez?verbose", "/readyz?verbose", "/startupz?verbose", "/metrics", "/openapi"]
    {
        assert!(!told(&node.get(target)), "{target}");
    }
}
