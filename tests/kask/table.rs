//! Rows, and how an answer is held against one.

use std::fmt::Write as _;
use std::io;

use serde_json::{Map, Value};

use super::{BASE, SECRET};
use crate::harness::{Connection, Node, Response, message};

/// One request and what must come back. A failure names it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) request: Vec<u8>,
    pub(crate) expect: Expect,
}

/// The answer that a row demands.
#[derive(Debug, Clone)]
pub(crate) struct Expect {
    pub(crate) status: u16,
    /// The whole set: what is not listed must not be there.
    pub(crate) headers: Headers,
    pub(crate) body: Body,
    /// What becomes of the connection.
    pub(crate) then: Then,
}

/// The headers that an answer must and may have. Names are compared without case.
#[derive(Debug, Clone)]
pub(crate) enum Headers {
    Exactly(Vec<(&'static str, Is)>),
    /// For answers that the HTTP library gives before ours sees the request.
    Any,
}

/// One header's value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Is {
    Text(&'static str),
    /// `"<16 hex>-<16 hex>"`.
    Etag,
    /// Digits.
    Number,
    /// The length of the body.
    Length,
    /// Anything that is not empty.
    Present,
    /// May be absent.
    Maybe,
}

/// The body of an answer.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Empty,
    Exactly(Vec<u8>),
    Problem(Problem),
    Any,
}

/// What becomes of the connection after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It serves the next request.
    Open,
    Closed,
    /// Either, but never does it take a part of one request for another.
    Either,
}

/// A problem body.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    /// One of these stands in `detail`, in any case.
    pub(crate) says: &'static [&'static str],
    pub(crate) instance: Instance,
}

/// Which problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    BadRequest,
    NotFound,
    ServerError,
    RequestTimeout,
    PayloadTooLarge,
    NotReady,
}

/// What `instance` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instance {
    /// The base URI, `~`, and the 22 characters of a key id.
    Key(&'static str),
    /// The base URI: the request has no key.
    Base(&'static str),
    /// Either of them: the key cannot be used.
    KeyOrBase(&'static str),
    /// It is no request for a session.
    Anything,
}

/// Kask's words for a 400, which ours begin with.
const INCORRECT: &str = "The request was incorrect or malformed";

impl Kind {
    fn type_uri(self) -> &'static str {
        match self {
            Self::BadRequest => "https://www.mediawiki.org/wiki/Kask/errors/bad_request",
            Self::NotFound => "https://www.mediawiki.org/wiki/Kask/errors/not_found",
            Self::ServerError => "https://www.mediawiki.org/wiki/Kask/errors/server_error",
            Self::RequestTimeout => "urn:solera:problem:request_timeout",
            Self::PayloadTooLarge => "urn:solera:problem:payload_too_large",
            Self::NotReady => "urn:solera:problem:not_ready",
        }
    }

    /// Kask's title, where the problem is Kask's.
    fn title(self) -> Option<&'static str> {
        match self {
            Self::BadRequest => Some("Bad request"),
            Self::NotFound => Some("Not found"),
            Self::ServerError => Some("Internal server error"),
            Self::RequestTimeout | Self::PayloadTooLarge | Self::NotReady => None,
        }
    }

    /// What every 5xx says about the store.
    fn outcome(self) -> Option<&'static str> {
        match self {
            Self::NotReady => Some("refused"),
            Self::BadRequest | Self::NotFound | Self::ServerError => None,
            Self::RequestTimeout | Self::PayloadTooLarge => None,
        }
    }
}

/// A row.
pub(crate) fn row(name: &'static str, request: impl Into<Vec<u8>>, expect: Expect) -> Row {
    Row { name, request: request.into(), expect }
}

/// `GET {BASE}{rest}`.
pub(crate) fn get(rest: &str) -> Vec<u8> {
    get_with(rest, &[])
}

/// `GET {BASE}{rest}` with headers.
pub(crate) fn get_with(rest: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    with_method("GET", rest, headers)
}

/// A request of any method for `{BASE}{rest}`, without a body.
pub(crate) fn with_method(method: &str, rest: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    message(method, &format!("{BASE}{rest}"), headers, b"")
}

/// `POST {BASE}{rest}`.
pub(crate) fn post(rest: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    message("POST", &format!("{BASE}{rest}"), headers, body)
}

/// 200 with these bytes of a session.
pub(crate) fn ok(value: impl Into<Vec<u8>>) -> Expect {
    let mut headers = session_headers();
    headers.extend([("Content-Type", Is::Text("application/octet-stream")), ("Content-Length", Is::Length)]);
    Expect {
        status: 200,
        headers: Headers::Exactly(headers),
        body: Body::Exactly(value.into()),
        then: Then::Open,
    }
}

/// What a 200 tells besides the value.
fn session_headers() -> Vec<(&'static str, Is)> {
    vec![
        ("ETag", Is::Etag),
        ("Session-Expires", Is::Number),
        ("Cache-Control", Is::Text("no-store")),
        ("Date", Is::Present),
    ]
}

/// 201. No `Content-Type`, as Kask on the wire.
pub(crate) fn created() -> Expect {
    let headers = vec![("Content-Length", Is::Text("0")), ("ETag", Is::Etag), ("Date", Is::Present)];
    Expect { status: 201, headers: Headers::Exactly(headers), body: Body::Empty, then: Then::Open }
}

/// 204 with nothing but a date.
pub(crate) fn deleted() -> Expect {
    let headers = Headers::Exactly(vec![("Date", Is::Present)]);
    Expect { status: 204, headers, body: Body::Empty, then: Then::Open }
}

/// 304.
pub(crate) fn not_modified() -> Expect {
    let mut headers = session_headers();
    headers.retain(|(name, _)| *name != "Session-Expires");
    headers.push(("Session-Expires", Is::Maybe));
    Expect { status: 304, headers: Headers::Exactly(headers), body: Body::Empty, then: Then::Open }
}

/// Go's answer for a path that nobody serves.
pub(crate) fn no_store() -> Expect {
    let headers = vec![
        ("Content-Type", Is::Text("text/plain; charset=utf-8")),
        ("X-Content-Type-Options", Is::Text("nosniff")),
        ("Content-Length", Is::Text("19")),
        ("Date", Is::Present),
    ];
    let body = Body::Exactly(b"404 page not found\n".to_vec());
    Expect { status: 404, headers: Headers::Exactly(headers), body, then: Then::Open }
}

/// 404 for the session of a key.
pub(crate) fn not_found() -> Expect {
    problem(404, Kind::NotFound, &[], Instance::Key(BASE))
}

/// 404 for a path below the base URI that holds no key.
pub(crate) fn no_key() -> Expect {
    problem(404, Kind::NotFound, &[], Instance::Base(BASE))
}

/// 400 whose detail has one of `says`.
pub(crate) fn bad_request(says: &'static [&'static str], instance: Instance) -> Expect {
    problem(400, Kind::BadRequest, says, instance)
}

/// A problem.
pub(crate) fn problem(status: u16, kind: Kind, says: &'static [&'static str], instance: Instance) -> Expect {
    let headers = vec![
        ("Content-Type", Is::Text("application/json")),
        ("X-Content-Type-Options", Is::Text("nosniff")),
        ("Content-Length", Is::Length),
        ("Date", Is::Present),
    ];
    let body = Body::Problem(Problem { kind, says, instance });
    let expect = Expect { status, headers: Headers::Exactly(headers), body, then: Then::Open };
    if status == 503 { expect.with(("Retry-After", Is::Text("1"))) } else { expect }
}

impl Expect {
    /// The same answer with one more header.
    pub(crate) fn with(mut self, header: (&'static str, Is)) -> Self {
        if let Headers::Exactly(headers) = &mut self.headers {
            headers.push(header);
        }
        self
    }

    /// The same answer to `HEAD`: the headers stay, `Content-Length` too, the body does not.
    pub(crate) fn without_body(mut self) -> Self {
        if let Headers::Exactly(headers) = &mut self.headers {
            for (name, value) in headers {
                if *name == "Content-Length" && matches!(value, Is::Length) {
                    *value = Is::Number;
                }
            }
        }
        Self { body: Body::Empty, ..self }
    }

    /// The same answer, after which the server closes and says so.
    pub(crate) fn and_close(self) -> Self {
        Self { then: Then::Closed, ..self.with(("Connection", Is::Text("close"))) }
    }

    /// The same answer to a request whose body the server need not have read.
    pub(crate) fn unread_body(self) -> Self {
        Self { then: Then::Either, ..self.with(("Connection", Is::Maybe)) }
    }
}

/// Plays every row on a connection of its own.
///
/// # Panics
///
/// With all rows that failed, each by its name.
pub(crate) fn check(node: &Node, rows: &[Row]) {
    assert!(!rows.is_empty(), "a table without rows checks nothing");
    let mut failures = String::new();
    for row in rows {
        if let Err(why) = play(node, row) {
            let request: String = String::from_utf8_lossy(&row.request).chars().take(120).collect();
            writeln!(failures, "* {}: {why}\n    request {request:?}", row.name).expect("write to a string");
        }
    }
    assert!(failures.is_empty(), "rows that failed:\n{failures}");
}

fn play(node: &Node, row: &Row) -> Result<(), String> {
    let mut connection = node.connect();
    let response = connection.exchange(&row.request).map_err(|error| format!("no answer: {error}"))?;
    compare(&row.expect, &response)
        .map_err(|why| format!("{why}\n    answer {:?}", response.everything()))?;
    check_connection(&mut connection, row.expect.then)
}

/// Holds an answer against what is expected.
pub(crate) fn compare(expect: &Expect, response: &Response) -> Result<(), String> {
    same("status", &expect.status, &response.status)?;
    if let Headers::Exactly(headers) = &expect.headers {
        compare_headers(headers, response)?;
    }
    match &expect.body {
        Body::Any => Ok(()),
        Body::Empty => same("body", &"", &&*String::from_utf8_lossy(&response.body)),
        Body::Exactly(bytes) if *bytes == response.body => Ok(()),
        Body::Exactly(bytes) => Err(format!("body is not {:?}", String::from_utf8_lossy(bytes))),
        Body::Problem(problem) => compare_problem(problem, response),
    }?;
    if response.everything().contains(SECRET) { Err("tells the session key".to_owned()) } else { Ok(()) }
}

fn compare_headers(expected: &[(&'static str, Is)], response: &Response) -> Result<(), String> {
    for (name, is) in expected {
        let values: Vec<&String> =
            response.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v).collect();
        match (values.as_slice(), is) {
            ([], Is::Maybe) => {}
            ([value], is) if is_right(*is, value, response) => {}
            (values, is) => return Err(format!("{name} is {values:?}, not {is:?}")),
        }
    }
    let is_expected = |name: &str| expected.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    match response.headers.iter().find(|(name, _)| !is_expected(name)) {
        Some((name, value)) => Err(format!("an extra header {name}: {value}")),
        None => Ok(()),
    }
}

fn is_right(is: Is, value: &str, response: &Response) -> bool {
    match is {
        Is::Text(text) => text == value,
        Is::Etag => is_etag(value),
        Is::Number => !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()),
        Is::Length => value == response.body.len().to_string(),
        Is::Present => !value.is_empty(),
        Is::Maybe => true,
    }
}

/// Whether it is `"<16 hex>-<16 hex>"`.
pub(crate) fn is_etag(value: &str) -> bool {
    let Some((hlc, writer)) =
        value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).and_then(|v| v.split_once('-'))
    else {
        return false;
    };
    let is_hex =
        |text: &str| text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_hex(hlc) && is_hex(writer)
}

fn compare_problem(problem: &Problem, response: &Response) -> Result<(), String> {
    let Problem { kind, says, instance } = problem;
    let fields: Map<String, Value> =
        serde_json::from_slice(&response.body).map_err(|error| format!("no JSON: {error}"))?;
    let field = |name: &str| fields.get(name).and_then(Value::as_str).ok_or(format!("no {name}"));
    let (title, detail) = (field("title")?, field("detail")?);

    same("type", &kind.type_uri(), &field("type")?)?;
    kind.title().map_or(Ok(()), |expected| same("title", &expected, &title))?;
    check_detail(*kind, detail)?;
    if !says.is_empty() && !says.iter().any(|word| detail.to_lowercase().contains(&word.to_lowercase())) {
        return Err(format!("detail says none of {says:?}"));
    }
    check_instance(*instance, field("instance")?)?;
    kind.outcome().map_or(Ok(()), |expected| same("outcome", &expected, &field("outcome")?))?;
    check_outcome_presence(response.status, &fields)?;
    check_layout(*kind, &fields, response)
}

fn check_detail(kind: Kind, detail: &str) -> Result<(), String> {
    match kind {
        Kind::BadRequest => check_reason(INCORRECT, detail),
        Kind::ServerError => check_reason("The server encountered an error with your request", detail),
        Kind::NotFound => same("detail", &"The value you requested was not found", &detail),
        Kind::RequestTimeout | Kind::PayloadTooLarge | Kind::NotReady => {
            if detail.is_empty() {
                Err("detail is empty".to_owned())
            } else {
                Ok(())
            }
        }
    }
}

/// Kask's words, and a reason after a colon or none.
fn check_reason(words: &str, detail: &str) -> Result<(), String> {
    match detail.strip_prefix(words) {
        Some(more) if more.is_empty() || more.starts_with(": ") => Ok(()),
        _ => Err(format!("detail {detail:?} is no {words:?} with a reason")),
    }
}

fn check_instance(expected: Instance, instance: &str) -> Result<(), String> {
    let names_key = |base: &str| instance.strip_prefix(base).is_some_and(is_key_id);
    let is_right = match expected {
        Instance::Key(base) => names_key(base),
        Instance::Base(base) => instance == base,
        Instance::KeyOrBase(base) => instance == base || names_key(base),
        Instance::Anything => true,
    };
    if is_right { Ok(()) } else { Err(format!("instance {instance:?} is no {expected:?}")) }
}

fn is_key_id(text: &str) -> bool {
    let is_base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.strip_prefix('~').is_some_and(|id| id.len() == 22 && id.bytes().all(is_base64url))
}

/// Every 5xx tells what became of the request; nothing else has an outcome.
fn check_outcome_presence(status: u16, fields: &Map<String, Value>) -> Result<(), String> {
    const OUTCOMES: [&str; 4] = ["refused", "partial", "unknown", "stored"];
    match (status, fields.get("outcome").and_then(Value::as_str)) {
        (500.., Some(outcome)) if OUTCOMES.contains(&outcome) => Ok(()),
        (..500, None) => Ok(()),
        (_, outcome) => Err(format!("outcome is {outcome:?}")),
    }
}

/// Two-space indent, Kask's four fields first and in its order, a newline at the end.
fn check_layout(kind: Kind, fields: &Map<String, Value>, response: &Response) -> Result<(), String> {
    let lines: Vec<String> = ["type", "title", "detail", "instance"]
        .iter()
        .map(|name| format!("  \"{name}\": {}", fields[*name]))
        .collect();
    let four = lines.join(",\n");
    let text = response.text();
    let whole = format!("{{\n{four}\n}}\n");
    let (begins, ends) = (format!("{{\n{four},\n  \""), "\n}\n");
    let is_kasks = kind == Kind::BadRequest || kind == Kind::NotFound;
    let is_right = text == whole || (!is_kasks && text.starts_with(&begins) && text.ends_with(ends));
    if is_right { Ok(()) } else { Err("the body is laid out otherwise".to_owned()) }
}

/// Looks whether the connection serves the next request, or is closed, with no byte in between.
fn check_connection(connection: &mut Connection, then: Then) -> Result<(), String> {
    let next = match then {
        Then::Closed => {
            return match connection.receive_end() {
                Ok(rest) => same("after the answer", &"", &&*String::from_utf8_lossy(&rest)),
                Err(error) if is_closed(&error) => Ok(()),
                Err(error) => Err(format!("stays open: {error}")),
            };
        }
        Then::Open | Then::Either => connection.exchange(message("GET", "/livez", &[], b"")),
    };
    match next {
        Ok(response) => same("status of the next request", &200, &response.status),
        Err(error) if then == Then::Either && is_closed(&error) => Ok(()),
        Err(error) => Err(format!("the next request on the connection: {error}")),
    }
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, found: &T) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("{what} is {found:?}, not {expected:?}")) }
}
