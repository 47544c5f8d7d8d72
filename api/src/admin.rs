//! The admin listener: what this node is doing, and what it can be told to do.

mod guard;
mod peers;
mod secrets;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use schemas::{Dc, StoreName};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use writer::peer::Peer;

use crate::{
    Access, App, Job, NotCompared, Role, Routes, Task,
    brief_problem::brief_problem,
    routes::{hashes, metrics},
};

pub use secrets::Counting;

/// What is known of one store.
#[derive(Serialize)]
struct StoreStatus<'a> {
    base_uri: &'a str,
    /// Unix milliseconds of the newest record in the log, by the log's clock.
    newest_append_ms: Option<u64>,
}

#[derive(Serialize)]
struct Status<'a> {
    version: &'static str,
    ready: bool,
    waiting_for: Option<String>,
    stores: BTreeMap<&'a str, StoreStatus<'a>>,
    peers: BTreeMap<String, peers::PeerStatus>,
}

/// Something that can be asked for.
#[derive(Clone, Debug)]
pub struct Route {
    /// How. HEAD is taken where GET is.
    pub method: Method,
    /// Where.
    pub path: &'static str,
    /// What whoever asks must be allowed.
    pub role: Role,
    serve: fn(MethodFilter) -> MethodRouter<App>,
}

impl Route {
    const fn look(path: &'static str, role: Role, serve: fn(MethodFilter) -> MethodRouter<App>) -> Self {
        Self { method: Method::GET, path, role, serve }
    }

    const fn order(method: Method, path: &'static str, serve: fn(MethodFilter) -> MethodRouter<App>) -> Self {
        Self { method, path, role: Role::Operate, serve }
    }
}

/// Every route of the admin listener: what does not stand here is not served, and nothing stands here without a role.
pub const ROUTES: [Route; 14] = [
    Route::look("/v1/status", Role::Status, |method| on(method, status)),
    Route::look("/v1/peers", Role::Status, |method| on(method, peers::list)),
    Route::order(Method::PUT, "/v1/peers/{dc}", |method| on(method, peers::declare)),
    Route::order(Method::POST, "/v1/rebuild", |method| on(method, |app, uri| order(app, uri, Task::Rebuild))),
    Route::order(Method::POST, "/v1/verify", |method| on(method, |app, uri| order(app, uri, Task::Verify))),
    Route::order(Method::POST, "/v1/checkpoint", |method| {
        on(method, |app, uri| order(app, uri, Task::Checkpoint))
    }),
    Route::look("/v1/stores/{store}/hashes", Role::Status, |method| on(method, hashes)),
    // It names sessions by their key ids, as what happened to them does.
    Route::look("/v1/stores/{store}/diff", Role::Audit, |method| on(method, diff)),
    Route::order(Method::POST, "/v1/repair", |method| on(method, repair)),
    Route::look("/v1/jobs/{id}", Role::Status, |method| on(method, job)),
    Route::order(Method::DELETE, "/v1/jobs/{id}", |method| on(method, cancel)),
    Route::look("/v1/secrets", Role::Status, |method| on(method, secrets::list)),
    Route::order(Method::POST, "/v1/secrets/{id}/retire", |method| on(method, secrets::retire)),
    Route::look("/metrics", Role::Status, |method| on(method, metrics)),
];

/// The routes, for those whom `access` knows and as far as it lets them; for everybody without it.
pub fn routes(app: App, access: Option<Arc<Access>>) -> Routes {
    let serve = |others: Router<App>, Route { method, path, role, serve }| {
        let method = MethodFilter::try_from(method).expect("a method that the table may name");
        let served = serve(method);
        let served = if access.is_some() { guard::only_with(role, served) } else { served };
        others.route(path, served)
    };
    let others = ROUTES.into_iter().fold(Router::new(), serve);
    let others = others.fallback(|| async { StatusCode::NOT_FOUND }).with_state(app);
    Routes::without_sessions(match access {
        Some(access) => guard::only_known(access, others),
        None => others,
    })
}

async fn status(State(app): State<App>) -> Response {
    let stores = app.stores.iter().map(|store| {
        let newest_append_ms = store.backend().map(|backend| backend.reads.clock.newest_append().as_millis());
        (store.name.as_str(), StoreStatus { base_uri: store.base_uri(), newest_append_ms })
    });
    let status = Status {
        version: app.build.version,
        ready: app.readiness.is_ready(),
        waiting_for: app.readiness.first_problem(),
        stores: stores.collect(),
        peers: peers::all(&app),
    };
    Json(status).into_response()
}

/// Sums alone: cells name sessions, and are for other data centres and for `diff`.
async fn hashes(State(app): State<App>, Path(store): Path<String>, uri: Uri) -> Response {
    hashes::say_sums(&app, &store, uri.query().unwrap_or_default())
}

/// `?between=DC,DC`, of which this node's is one. Answers when the two have been compared, which may take a minute.
async fn diff(State(app): State<App>, Path(store): Path<String>, uri: Uri) -> Response {
    let between = uri.query().and_then(|query| query.strip_prefix("between=")?.split_once(','));
    let Some((one, other)) = between else {
        return problem(
            StatusCode::BAD_REQUEST,
            "Bad request",
            "?between= takes two data centres, with a comma",
        );
    };
    let own = app.dcs.us.as_str();
    let with = match (one == own, other == own) {
        (true, false) => other,
        (false, true) => one,
        _ => {
            let detail = format!("This is a node of {own}, which is to be one of the two");
            return problem(StatusCode::NOT_FOUND, "No such data centre", &detail);
        }
    };
    let Ok(with) = with.parse() else {
        return problem(StatusCode::NOT_FOUND, "No such data centre", &format!("{with} is no name of one"));
    };
    let store = match hashes::open(&app, &store) {
        Ok((store, _)) => store.clone(),
        Err(closed) => return closed.into_response(),
    };
    match app.comparisons.compare(store, with).await {
        Ok(compared) => Json(compared).into_response(),
        Err(NotCompared::NoSuchDc(why)) => problem(StatusCode::NOT_FOUND, "No such data centre", &why),
        Err(NotCompared::Unavailable(why)) => {
            problem(StatusCode::SERVICE_UNAVAILABLE, "Cannot be compared", &why)
        }
    }
}

/// `?store=NAME` restricts the job to one store.
async fn order(State(app): State<App>, uri: Uri, task: Task) -> Response {
    let store = match store(&app, uri.query().unwrap_or_default()) {
        Ok(store) => store,
        Err(Unusable::Parameter) => {
            return problem(StatusCode::BAD_REQUEST, "Unknown parameter", "The one parameter is store");
        }
        Err(Unusable::Store) => {
            let known: Vec<_> = app.stores.iter().map(|store| store.name.as_str()).collect();
            let detail = format!("The stores are: {}", known.join(", "));
            return problem(StatusCode::NOT_FOUND, "No such store", &detail);
        }
    };
    if let Some(why) = app.readiness.first_problem() {
        let detail = format!("The node is not ready: {why}. Try again when it is");
        return problem(StatusCode::SERVICE_UNAVAILABLE, "Not ready", &detail);
    }
    match app.jobs.order(task, store) {
        Ok(job) => {
            let mut response = (StatusCode::ACCEPTED, Json(job.status())).into_response();
            let location = format!("/v1/jobs/{}", job.id);
            let location = HeaderValue::from_str(&location).expect("a path of digits is a header");
            response.headers_mut().insert(header::LOCATION, location);
            response
        }
        Err(busy) => {
            let detail = format!("Job {} runs; wait for it, or DELETE /v1/jobs/{}", busy.job, busy.job);
            problem(StatusCode::CONFLICT, "Another job runs", &detail)
        }
    }
}

/// What a repair is ordered with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repair {
    /// The data centre whose logs are read.
    from: String,
}

/// Bytes of the largest order.
const ORDER_BYTES_MAX: usize = 1024;

/// What is ordered in a body, or why that cannot be read.
async fn read_order<T: DeserializeOwned>(body: Body) -> Result<T, String> {
    let body = to_bytes(body, ORDER_BYTES_MAX).await;
    let body = body.map_err(|_| "the body is too long or broke off".to_owned())?;
    serde_json::from_slice(&body).map_err(|error| format!("the body is no order: {error}"))
}

async fn repair(State(app): State<App>, uri: Uri, body: Body) -> Response {
    let from = read_order::<Repair>(body).await.ok();
    let Some(from) = from.and_then(|Repair { from }| from.parse::<Dc>().ok()) else {
        let detail = "The body is {\"from\": the name of another data centre}";
        return problem(StatusCode::BAD_REQUEST, "Bad request", detail);
    };
    if app.dcs.peers.iter().all(|peer| *peer.dc() != from) {
        let known: Vec<_> = app.dcs.peers.iter().map(|peer| peer.dc().as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let detail = format!("{from} is no other data centre of this one: those that it knows are {known}");
        return problem(StatusCode::NOT_FOUND, "No such data centre", &detail);
    }
    order(State(app), uri, Task::Repair { from }).await
}

/// What is wrong with a query.
enum Unusable {
    Parameter,
    Store,
}

fn store(app: &App, query: &str) -> Result<Option<StoreName>, Unusable> {
    let mut found = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.strip_prefix("store=").ok_or(Unusable::Parameter)?;
        let name = name.parse().map_err(|_| Unusable::Store)?;
        found = Some(app.stores.get(&name).ok_or(Unusable::Store)?.name.clone());
    }
    Ok(found)
}

async fn job(State(app): State<App>, Path(id): Path<String>) -> Response {
    find(&app, &id).map_or_else(no_such_job, |job| Json(job.status()).into_response())
}

/// A job that has ended already stays as it ended.
async fn cancel(State(app): State<App>, Path(id): Path<String>) -> Response {
    let Some(job) = find(&app, &id) else { return no_such_job() };
    job.stop.cancel();
    StatusCode::NO_CONTENT.into_response()
}

fn find(app: &App, id: &str) -> Option<Arc<Job>> {
    app.jobs.get(id.parse().ok()?)
}

fn no_such_job() -> Response {
    let detail = "Jobs are numbered from 1 in each run of the program; the last hundred are known";
    problem(StatusCode::NOT_FOUND, "No such job", detail)
}

fn problem(status: StatusCode, title: &str, detail: &str) -> Response {
    brief_problem(status, title, detail, None)
}
