//! The admin listener: what this node is doing, for operators. Loopback only until it can tell people apart.

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::StatusCode;
use serde::Serialize;

use crate::{App, routes};

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
    stores: std::collections::BTreeMap<&'a str, StoreStatus<'a>>,
}

/// Every route of the admin listener.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/metrics", get(routes::metrics))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .with_state(app)
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
    };
    Json(status).into_response()
}
