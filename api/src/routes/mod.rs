//! The table of contents of the data listener.

mod metrics;
mod openapi;
mod probes;
mod sessions;

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
    routing::any,
};
use http::{HeaderValue, StatusCode, header};

use crate::{App, Kind, Outcome, Problem};
pub(crate) use metrics::metrics;

/// Every route of the data listener. Any method is taken, as Kask's are; sessions tell methods apart themselves.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/healthz", any(probes::healthz))
        .route("/livez", any(probes::livez))
        .route("/readyz", any(probes::readyz))
        .route("/startupz", any(probes::startupz))
        .route("/metrics", any(metrics))
        .route("/openapi", any(openapi::openapi))
        .fallback(sessions::session)
        .with_state(app)
}

/// Go's answer where nothing is.
fn page_not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = (status, body.into()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A bug, where nothing could have been stored.
fn server_error(instance: &str, reason: &str) -> Response {
    Problem::new(Kind::ServerError(Outcome::Refused), instance).because(reason).into_response()
}
