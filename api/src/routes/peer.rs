//! The peer listener: what other data centres ask of this one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Path, Request, State, rejection::JsonRejection},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use eventlog::{EventLog, Frontier, frames};
use futures::StreamExt;
use http::{HeaderValue, StatusCode, Uri, header};
use schemas::{Dc, Offset, Partition};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use writer::{
    Answer, Deadline, NoAnswer,
    peer::TlsName,
    peer::comparing::{BEACONS, BeaconCall, HASHES},
    peer::messages::{
        BODY_BYTES_MAX, DC_HEADER, DECLARATIONS, HELLO, Hello, INDEX_SECRET, LOG, LOG_END, LOG_INCARNATION,
        LOG_NEXT, StoreRules, TOMBSTONES, TombstoneAnswer, TombstoneCall, TombstoneResult,
    },
};

use super::declarations::declaration;
use crate::{
    App, Fingerprints, Outcome, Routes,
    brief_problem::brief_problem as problem,
    dcs::{DECLARED_DOWN, writers},
    routes::hashes,
    sender::Sender,
    store::Backend,
};

/// The longest that a reader of a log may wait for something to come.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// How long what is there may take to be read: the reader of a topic has to find its brokers first.
const READ_WITHIN: Duration = Duration::from_secs(4);

/// How long the body of a call may take.
const BODY_PATIENCE: Duration = Duration::from_secs(5);

/// What the peer listener knows.
#[derive(Clone, Debug)]
pub struct PeerApp {
    /// The stores, and whether they may be asked.
    pub app: App,
    /// This data centre.
    pub dc: Dc,
    /// Those that may ask, and for which name each must show a certificate, if any.
    pub peers: BTreeMap<Dc, Option<TlsName>>,
    /// Of each secret, by name.
    pub fingerprints: Fingerprints,
    /// `kafka` or `embedded`.
    pub log: &'static str,
    /// What all data centres have to agree on, by store.
    pub rules: BTreeMap<String, StoreRules>,
    /// This machine's clock, Unix milliseconds.
    pub wall_ms: fn() -> u64,
}

/// Every route of the peer listener.
pub fn peer_routes(app: PeerApp) -> Routes {
    let app = Arc::new(app);
    let others = Router::new()
        .route(HELLO, get(hello))
        .route(TOMBSTONES, post(tombstone))
        .route(DECLARATIONS, post(declaration))
        .route(&format!("{LOG}/{{topic}}/{{partition}}"), get(log))
        .route(&format!("{HASHES}/{{store}}"), get(hashes))
        .route(&format!("{BEACONS}/{{store}}"), post(beacon))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(middleware::from_fn_with_state(Arc::clone(&app), only_peers))
        .with_state(app);
    Routes::without_sessions(others)
}

/// Whoever asks must say which data centre it is, be one that this one knows, and show that one's certificate.
async fn only_peers(State(app): State<Arc<PeerApp>>, request: Request, next: Next) -> Response {
    let claimed = request.headers().get(DC_HEADER).and_then(|value| value.to_str().ok());
    let claimed = claimed.and_then(|name| name.parse::<Dc>().ok());
    let Some((dc, name)) = claimed.and_then(|dc| app.peers.get_key_value(&dc)) else {
        let known = app.peers.keys().map(Dc::as_str).collect::<Vec<_>>().join(", ");
        let detail = format!("{} is asked by {known}, as {DC_HEADER} says", app.dc);
        return problem(StatusCode::FORBIDDEN, "Wrong peer", &detail, None);
    };
    let sender = request.extensions().get::<Sender>();
    let shown = sender.and_then(|sender| sender.certificate.as_ref());
    if name.as_ref().is_some_and(|name| !shown.is_some_and(|shown| shown.is_for(name))) {
        let detail = format!("the certificate that was shown is not that of {dc}: see `tls_name`");
        return problem(StatusCode::FORBIDDEN, "Wrong peer", &detail, None);
    }
    next.run(request).await
}

async fn hello(State(app): State<Arc<PeerApp>>) -> Response {
    let PeerApp { app: node, dc, peers, fingerprints, log, rules, wall_ms } = &*app;
    let hello = Hello {
        dc: dc.clone(),
        wall_ms: wall_ms(),
        versions_ms: versions_ms(node),
        ready: node.readiness.is_ready(),
        version: node.build.version.to_owned(),
        secret_fingerprints: fingerprints.all(),
        dcs: peers.keys().chain([dc]).map(Dc::to_string).collect(),
        log: (*log).to_owned(),
        stores: rules.clone(),
        declared: node.dcs.declared(&node.stores),
        declared_by: node.dcs.declared_by(&node.stores),
    };
    Json(hello).into_response()
}

fn versions_ms(node: &App) -> Option<u64> {
    let reach = writers(&node.stores)?.iter().map(|writer| writer.versions_reach()).max()?;
    Some(reach.as_millis())
}

async fn tombstone(State(app): State<Arc<PeerApp>>, body: Body) -> Response {
    let bad = |detail: &str| problem(StatusCode::BAD_REQUEST, "Bad request", detail, None);
    let call: TombstoneCall = match read_call(body).await {
        Ok(call) => call,
        Err(why) => return bad(&why),
    };
    let Some(tombstone) = call.tombstone() else { return bad("the request id is too long") };
    if app.fingerprints.index() != call.index_fingerprint {
        let detail = format!("{} has another secret `{INDEX_SECRET}`", app.dc);
        return problem(StatusCode::CONFLICT, "config_mismatch", &detail, None);
    }
    let Some(store) = app.app.stores.get(&call.store) else {
        let detail = format!("{} has no store {}", app.dc, call.store);
        return problem(StatusCode::NOT_FOUND, "No such store", &detail, None);
    };
    let Some(backend) = store.backend().filter(|_| app.app.readiness.serves_but_for(DECLARED_DOWN)) else {
        let why = app.app.readiness.why_not();
        return refused(&format!("not ready: {why}"));
    };
    if !app.app.disk_room.takes_deletes() {
        return refused("the disk is full");
    }
    let patience = Duration::from_millis(call.deadline_ms).min(app.app.limits.request_timeout);
    // It goes on whether or not somebody still waits for the answer.
    let (writer, version) = (Arc::clone(&backend.writer), tombstone.version);
    let accepted =
        tokio::spawn(async move { writer.accept(tombstone, call.round, Deadline::within(patience)).await });
    let (result, version, not_down) = match accepted.await {
        Ok(Answer::Done(done)) => (TombstoneResult::Done, version, done.not_down().clone()),
        Ok(Answer::Newer(newest)) => (TombstoneResult::Newer, newest, BTreeSet::new()),
        Ok(Answer::None(no_answer)) => return failed(&no_answer),
        Err(panic) => {
            tracing::error!("A tombstone of a peer: {panic}");
            let outcome = Some(Outcome::Unknown);
            return problem(StatusCode::GATEWAY_TIMEOUT, "Outcome unknown", "it failed inside", outcome);
        }
    };
    let (dc, wall_ms) = (app.dc.clone(), (app.wall_ms)());
    Json(TombstoneAnswer { dc, result, version, not_down, wall_ms }).into_response()
}

/// What a peer calls for, or why that cannot be read.
pub(super) async fn read_call<T: DeserializeOwned>(body: Body) -> Result<T, String> {
    let Ok(Ok(body)) = timeout(BODY_PATIENCE, to_bytes(body, BODY_BYTES_MAX)).await else {
        return Err("the body is too long, broke off, or did not come in time".to_owned());
    };
    serde_json::from_slice(&body).map_err(|error| format!("the body is not what is taken here: {error}"))
}

async fn hashes(State(app): State<Arc<PeerApp>>, Path(store): Path<String>, uri: Uri) -> Response {
    hashes::say(&app.app, &store, uri.query().unwrap_or_default()).await
}

async fn beacon(
    State(app): State<Arc<PeerApp>>,
    Path(store): Path<String>,
    call: Result<Json<BeaconCall>, JsonRejection>,
) -> Response {
    match call {
        Ok(Json(BeaconCall { beacon })) => hashes::append_beacon(&app.app, &store, beacon).await,
        Err(error) => problem(StatusCode::BAD_REQUEST, "Bad request", &error.body_text(), None),
    }
}

pub(super) fn failed(no_answer: &NoAnswer) -> Response {
    match no_answer {
        NoAnswer::Refused(why) | NoAnswer::Overloaded(why) => refused(why),
        NoAnswer::Stored(why) => {
            problem(StatusCode::GATEWAY_TIMEOUT, "Not visible yet", why, Some(Outcome::Stored))
        }
        NoAnswer::Unknown(why) => {
            problem(StatusCode::GATEWAY_TIMEOUT, "Outcome unknown", why, Some(Outcome::Unknown))
        }
    }
}

pub(super) fn refused(why: &str) -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, "Refused", why, Some(Outcome::Refused))
}

/// What a reader of a log asks for.
struct Piece {
    from: Offset,
    wait: Duration,
}

async fn log(
    State(app): State<Arc<PeerApp>>,
    Path((topic, partition)): Path<(String, String)>,
    uri: Uri,
) -> Response {
    let not_found = |detail: &str| problem(StatusCode::NOT_FOUND, "No such log", detail, None);
    let absent = || not_found(&format!("{} has no log {topic}", app.dc));
    let parsed = topic.split_once('.').and_then(|(origin, store)| {
        Some((origin.parse::<Dc>().ok()?, app.app.stores.get(&store.parse().ok()?)?))
    });
    let Some((origin, store)) = parsed else { return absent() };
    let Some(Backend { log, copies, .. }) = store.backend() else {
        return refused("not ready: opening its log");
    };
    let mut logs = [log].into_iter().chain(copies);
    let Some(log) = logs.find(|log| log.topic().origin == origin) else { return absent() };
    let partition = partition.parse().ok().map(Partition);
    let Some(partition) = partition.filter(|partition| partition.0 < log.partitions().get()) else {
        return not_found(&format!("the partitions of {topic} are 0 to {}", log.partitions().get() - 1));
    };
    let Some(piece) = asked_for(uri.query().unwrap_or_default()) else {
        let detail = "?from= takes an offset and wait_ms= milliseconds";
        return problem(StatusCode::BAD_REQUEST, "Bad request", detail, None);
    };
    read(log, partition, piece).await
}

/// `None` when something else is asked for, or what cannot be read.
fn asked_for(query: &str) -> Option<Piece> {
    let mut piece = Piece { from: Offset::ZERO, wait: Duration::ZERO };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=')? {
            ("from", from) => piece.from = Offset(from.parse().ok()?),
            ("wait_ms", wait) => piece.wait = Duration::from_millis(wait.parse().ok()?).min(WAIT_MAX),
            _ => return None,
        }
    }
    Some(piece)
}

async fn read(log: &Arc<dyn EventLog>, partition: Partition, piece: Piece) -> Response {
    let Piece { from, wait } = piece;
    let unavailable = |error: &dyn std::fmt::Display| {
        problem(StatusCode::SERVICE_UNAVAILABLE, "Log unreachable", &error.to_string(), None)
    };
    let ends = match log.tail().await {
        Ok(ends) => ends,
        Err(error) => return unavailable(&error),
    };
    let end = ends.get(partition);
    let wait = if from < end { READ_WITHIN } else { wait };
    // Nothing of the other partitions is wanted.
    let others = ends.iter().filter(|&(other, _)| other != partition);
    let frontier = Frontier::from_iter(others.chain([(partition, from)]));
    let mut batches = Arc::clone(log).read(frontier);
    let first = async {
        loop {
            match batches.next().await {
                Some(Ok(batch)) if batch.partition != partition => {}
                other => return other,
            }
        }
    };
    let (entries, next) = match timeout(wait, first).await {
        Ok(Some(Ok(batch))) => (batch.entries, batch.up_to),
        Ok(Some(Err(error))) if error.is_out_of_range() => {
            return problem(StatusCode::GONE, "Out of range", &error.to_string(), None);
        }
        Ok(Some(Err(error))) => return unavailable(&error),
        Ok(None) => return unavailable(&"it is closed"),
        Err(_) => (Vec::new(), from),
    };
    let mut response = frames::encode(&entries).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(LOG_NEXT, HeaderValue::from(next.0));
    headers.insert(LOG_END, HeaderValue::from(end.0));
    match HeaderValue::from_str(&log.incarnation().0) {
        Ok(incarnation) => drop(headers.insert(LOG_INCARNATION, incarnation)),
        Err(error) => return unavailable(&error),
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_a_log_is_asked_for_by_offset_and_patience() {
        let read = |query| asked_for(query).map(|Piece { from, wait }| (from.0, wait.as_millis()));
        assert_eq!(read(""), Some((0, 0)));
        assert_eq!(read("from=7&wait_ms=500"), Some((7, 500)));
        assert_eq!(read("wait_ms=99999999"), Some((0, 1000)));
        for query in ["from", "from=", "from=-1", "from=1&more=1", "wait_ms=x"] {
            assert_eq!(read(query), None, "{query}");
        }
    }
}
