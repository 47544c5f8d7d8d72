//! Sessions: read, write, delete. The order of checks is the contract; each step parses or rejects, once.

use std::fmt::Display;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, request::Parts};
use hyper::body::Incoming;
use materializer::{Cell, State as CellState, ViewError, Visible};
use schemas::{Headers, KeyId, Until};
use writer::{Deadline, DeletedEverywhere, Set, Stored};

use super::page_not_found;
use crate::{
    App, Kind, Outcome, Problem, Rules, Scope, SessionKey, Store,
    access::Shown,
    body::{self, BodyError},
    conditions,
    metrics::{DELETE, WRITE},
    rates::Limit,
    request_id::RequestId,
    sender::Sender,
    session_headers,
    store::Backend,
    target::{KeyError, RawKey, Target},
};

/// Everything that is not a reserved path.
pub(super) async fn session(app: &App, request: Request<Incoming>, sender: &Sender) -> Response {
    let (parts, body) = request.into_parts();
    match Target::of(&app.stores, parts.uri.path()) {
        Target::NoStore => page_not_found(),
        Target::BaseWithoutSlash(store) => moved(store, &parts),
        Target::InStore(store, raw_key) => {
            let counted = app.metrics.request(&parts.method);
            let response = match admit(app, store, &parts, sender) {
                Ok(()) => in_store(app, store, raw_key, &parts, body).await,
                Err(problem) => refuse(problem, &RequestId::of(&parts.headers)),
            };
            counted.answered(response.status());
            response
        }
    }
}

/// As Go's mux redirects.
fn moved(store: &Store, parts: &Parts) -> Response {
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("{}{query}", store.base_uri());
    let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
    let escaped =
        location.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
    let body = if parts.method == Method::GET {
        format!("<a href=\"{escaped}\">Moved Permanently</a>.\n\n")
    } else {
        String::new()
    };
    let mut response = (StatusCode::MOVED_PERMANENTLY, body).into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    if is_read {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    }
    match HeaderValue::from_str(&location) {
        Ok(location) => headers.insert(header::LOCATION, location),
        Err(_) => return page_not_found(),
    };
    response
}

async fn in_store(app: &App, store: &Store, raw_key: RawKey<'_>, parts: &Parts, body: Incoming) -> Response {
    let request_id = RequestId::of(&parts.headers);
    match answer(app, store, raw_key, parts, body, &request_id).await {
        Ok(response) => response,
        Err(problem) => refuse(problem, &request_id),
    }
}

fn refuse(problem: Problem, request_id: &RequestId) -> Response {
    log(&problem, request_id);
    problem.into_response()
}

/// Whether whoever asks may ask for this.
///
/// IMPORTANT: before anything that a session, or the key of one, has a part in: what strangers are told is the same whatever they ask for.
fn admit(app: &App, store: &Store, parts: &Parts, sender: &Sender) -> Result<(), Problem> {
    let Some(access) = &app.access else { return Ok(()) };
    let scope = Action::of(&parts.method, &store.rules).ok().map(|action| action.scope());
    let shown = Shown { headers: &parts.headers, certificate: sender.certificate.as_ref() };
    let admitted = access.admit(shown, &store.name, scope);
    admitted.map_err(|denied| Problem::of_denied(&denied, store.base_uri()))
}

/// A client's fault is for whoever debugs that client; the rest a person must look at.
fn log(problem: &Problem, request_id: &RequestId) {
    let detail = problem.told_to_log();
    match problem.kind() {
        Kind::NotFound => {}
        Kind::BadRequest
        | Kind::NotAuthorized
        | Kind::Forbidden
        | Kind::PayloadTooLarge
        | Kind::RequestTimeout => {
            tracing::debug!(%request_id, "Refused a request: {detail}");
        }
        Kind::NotReady => tracing::debug!(%request_id, "Answered \"not ready\": {detail}"),
        Kind::Overloaded => tracing::warn!(%request_id, "Refused a request: {detail}"),
        Kind::ServerError(_)
        | Kind::LogUnreachable
        | Kind::DeleteUnconfirmed
        | Kind::OutcomeUnknown
        | Kind::NotVisibleYet => tracing::error!(%request_id, "Failed a request: {detail}"),
    }
}

/// A request that has passed the checks that all methods share.
struct Session<'a> {
    app: &'a App,
    store: &'a Store,
    backend: &'a Backend,
    key: SessionKey,
    key_id: KeyId,
    headers: &'a HeaderMap,
    request_id: &'a RequestId,
}

async fn answer(
    app: &App,
    store: &Store,
    raw_key: RawKey<'_>,
    parts: &Parts,
    body: Incoming,
    request_id: &RequestId,
) -> Result<Response, Problem> {
    let bad_request = |reason: &dyn Display| Problem::new(Kind::BadRequest, store.base_uri()).because(reason);
    let key = raw_key.decode();
    let with_id = |problem: Problem| match &key {
        Ok(key) => problem.about(instance(store, store.sealer.key_id(key))),
        Err(_) => problem,
    };
    if parts.uri.query().is_some_and(|query| !query.is_empty()) {
        return Err(with_id(bad_request(&"a query string is not allowed")));
    }
    let key = match key {
        Ok(key) => key,
        Err(KeyError::NotASegment) => return Err(Problem::new(Kind::NotFound, store.base_uri())),
        Err(KeyError::MalformedEscape) => {
            return Err(bad_request(&"a percent sign is not followed by two hex digits"));
        }
    };
    let key_id = store.sealer.key_id(&key);
    let instance = || instance(store, key_id);
    let bad_request = |reason: &dyn Display| Problem::new(Kind::BadRequest, instance()).because(reason);

    let key_bytes_max = app.limits.key_bytes_max;
    if key_bytes_max < key.expose().len() {
        return Err(bad_request(&format_args!("the key is longer than {key_bytes_max} bytes")));
    }
    let action = Action::of(&parts.method, &store.rules).map_err(|reason| bad_request(&reason))?;
    let backend = store.backend().filter(|_| app.readiness.serves()).ok_or_else(|| {
        let problem = app.readiness.first_problem();
        Problem::new(Kind::NotReady, instance()).because(problem.as_deref().unwrap_or("starting"))
    })?;

    let session = Session { app, store, backend, key, key_id, headers: &parts.headers, request_id };
    match action {
        Action::Read => session.read().await,
        Action::Write => session.write(body).await,
        Action::Delete => session.delete().await,
    }
}

enum Action {
    Read,
    Write,
    Delete,
}

impl Action {
    fn of(method: &Method, rules: &Rules) -> Result<Self, &'static str> {
        match *method {
            // The answer to HEAD is that to GET; hyper leaves out the body.
            Method::GET | Method::HEAD => Ok(Self::Read),
            Method::POST => Ok(Self::Write),
            Method::PUT if rules.takes_put => Ok(Self::Write),
            Method::DELETE => Ok(Self::Delete),
            Method::PATCH => Err("the method PATCH is not supported by this release"),
            _ => Err("the method is not one of GET, HEAD, POST and DELETE"),
        }
    }

    /// What a client must be allowed for it.
    const fn scope(&self) -> Scope {
        match self {
            Self::Read => Scope::Read,
            Self::Write => Scope::Write,
            Self::Delete => Scope::Delete,
        }
    }
}

impl Session<'_> {
    async fn read(self) -> Result<Response, Problem> {
        session_headers::refuse_all(self.headers).map_err(|error| self.bad_request(&error))?;
        let seen = self.backend.reads.visible(self.key_id, self.app.limits.read_patience).await;
        let seen = seen.map_err(|error| Problem::of_read(&error, self.instance()))?;
        let Visible { cell, ends } = seen.ok_or_else(|| self.problem(Kind::NotFound))?;

        let etag = conditions::etag(cell.version);
        if conditions::has_already(self.headers, &etag) {
            return Ok(not_modified(etag));
        }
        let contents = self.open(&cell)?;
        let contents = self.app.answer_room.hold(contents).ok_or_else(|| {
            self.problem(Kind::Overloaded)
                .saying("Too many large answers wait for their clients to take them")
        })?;
        Ok(found(etag, ends, contents))
    }

    fn open(&self, cell: &Cell) -> Result<Bytes, Problem> {
        let CellState::Live { expires_at, sealed } = &cell.state else {
            return Err(self.problem(Kind::NotFound));
        };
        let opened = self.store.sealer.open(&self.key, self.key_id, *expires_at, &cell.headers, sealed);
        // The session is there. "Not found" would make the client forget it, everywhere.
        opened.map_err(|error| {
            self.app.metrics.seal_failures.with_label_values(&[self.store.name.as_str()]).inc();
            self.problem(Kind::ServerError(Outcome::Refused)).caused_by(error)
        })
    }

    async fn write(self, body: Incoming) -> Result<Response, Problem> {
        let ttl = session_headers::ttl(self.headers, self.store).map_err(|error| self.bad_request(&error))?;
        self.check_rate(WRITE, &self.store.limiter.writes).map_err(Problem::closing)?;
        self.check_disk()?;
        let body = body::read(body, self.store.rules.value_bytes_max, &self.app.body_room).await;
        let body = body.map_err(|error| self.body_problem(&error))?;

        let deadline = Deadline::within(self.app.limits.request_timeout);
        let expires_at = ttl.from(self.backend.reads.clock.read_now());
        let salt = (self.app.salt)();
        let (sealed, sealed_by) =
            self.store.sealer.seal(&self.key, self.key_id, expires_at, &body.bytes, salt);
        let headers = std::iter::once(sealed_by.header()).chain(self.request_id_header());
        let headers = Headers::from_pairs(headers).expect("a seal id and a request id are short");

        let set = Set { key: self.key_id, sealed, expires_at, headers };
        let stored = self.backend.writer.put(set, deadline, sealed_by).await;
        let stored = stored.map_err(|error| Problem::of_write(&error, self.instance()))?;
        Ok(created(stored))
    }

    fn check_rate(&self, op: &str, limit: &Limit) -> Result<(), Problem> {
        limit.take().map_err(|per_s| {
            let name = self.store.name.as_str();
            self.app.metrics.limited.with_label_values(&[name, op]).inc();
            let detail = format!(
                "The store {name} takes {per_s} {op}s a second, and this is one more; nothing was done"
            );
            self.problem(Kind::Overloaded).saying(&detail)
        })
    }

    fn check_disk(&self) -> Result<(), Problem> {
        let is_known = || Ok(self.backend.reads.serving.view().version(&self.key_id)?.is_some());
        match self.app.disk_room.takes(is_known) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let problem = self.problem(Kind::Overloaded);
                Err(problem.saying("The disk is nearly full; nothing was stored").closing())
            }
            Err::<_, ViewError>(error) => Err(self.problem(Kind::LogUnreachable).caused_by(error).closing()),
        }
    }

    async fn delete(self) -> Result<Response, Problem> {
        session_headers::refuse_all(self.headers).map_err(|error| self.bad_request(&error))?;
        self.check_rate(DELETE, &self.store.limiter.deletes)?;
        if !self.app.disk_room.takes_deletes() {
            return Err(self.problem(Kind::Overloaded).saying("The disk is full; nothing was deleted"));
        }
        let deadline = Deadline::within(self.app.limits.request_timeout);
        let headers = Headers::from_pairs(self.request_id_header()).expect("a request id is short");
        let deleted = self.backend.writer.delete(self.key_id, headers, deadline).await;
        let deleted = deleted.map_err(|error| Problem::of_delete(error, self.instance()))?;
        Ok(no_content(deleted))
    }

    fn body_problem(&self, error: &BodyError) -> Problem {
        let bytes_max = self.store.rules.value_bytes_max;
        match error {
            BodyError::Empty => self.bad_request(&"the request body is empty"),
            BodyError::Broken => {
                self.bad_request(&"the request body ended too early, or its framing is wrong").closing()
            }
            BodyError::TooLarge => {
                self.problem(Kind::PayloadTooLarge).because(format_args!("{bytes_max} bytes")).closing()
            }
            BodyError::TooSlow => self.problem(Kind::RequestTimeout).closing(),
            BodyError::NoRoom => self.problem(Kind::Overloaded).closing(),
        }
    }

    /// What a record says of who asked. Nothing, when the client did not say: a tombstone is half as large without.
    fn request_id_header(&self) -> Option<(&'static str, &[u8])> {
        self.request_id.given().map(|id| ("r", id.as_bytes()))
    }

    fn bad_request(&self, reason: &dyn Display) -> Problem {
        self.problem(Kind::BadRequest).because(reason)
    }

    fn problem(&self, kind: Kind) -> Problem {
        Problem::new(kind, self.instance())
    }

    fn instance(&self) -> String {
        instance(self.store, self.key_id)
    }
}

/// What a problem is about, in place of the path, which holds the session key.
fn instance(store: &Store, key_id: KeyId) -> String {
    format!("{}~{key_id}", store.base_uri())
}

fn found(etag: HeaderValue, expires_at: Until, contents: Bytes) -> Response {
    let mut response = Response::new(Body::from(contents));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::ETAG, etag);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Until::At(end) = expires_at {
        headers.insert("session-expires", HeaderValue::from(end.as_seconds()));
    }
    response
}

fn not_modified(etag: HeaderValue) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response.headers_mut().insert(header::ETAG, etag);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `201` says that the write is durable and can be read here: it takes the proof of that.
fn created(proof: Stored) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    headers.insert(header::ETAG, conditions::etag(proof.version()));
    response
}

/// `204` says that the session is gone everywhere: it takes the proof of that, and there is no other way to say it.
fn no_content(_proof: DeletedEverywhere) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
