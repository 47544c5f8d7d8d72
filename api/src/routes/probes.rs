//! Health, for load balancers and supervisors. None of it depends on another data centre.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, Uri, header};
use serde::Serialize;

use super::text;
use crate::{App, BuildInfo};

#[derive(Serialize)]
struct Health {
    version: &'static str,
    build_date: &'static str,
    build_host: &'static str,
    go_version: &'static str,
}

/// Kask's JSON, with 200 only when this node may answer.
pub(super) async fn healthz(State(app): State<App>) -> Response {
    let BuildInfo { version, build_date, build_host, go_version } = app.build;
    let health = Health { version, build_date, build_host, go_version };
    let body = serde_json::to_string_pretty(&health).expect("strings can be written as JSON");
    let mut response = (status(app.readiness.is_ready()), body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The process runs.
pub(super) async fn livez() -> Response {
    text(StatusCode::OK, "ok")
}

/// This node may answer.
pub(super) async fn readyz(State(app): State<App>, uri: Uri) -> Response {
    let ready = app.readiness.is_ready();
    let body = match app.readiness.first_problem() {
        _ if is_verbose(&uri) => app.readiness.report(),
        Some(problem) => format!("not ready: {problem}\n"),
        None => "ok".to_owned(),
    };
    text(status(ready), body)
}

/// This node has been ready once.
pub(super) async fn startupz(State(app): State<App>, uri: Uri) -> Response {
    let started = app.readiness.was_ready();
    let body = match app.readiness.first_problem() {
        _ if is_verbose(&uri) => app.readiness.report(),
        Some(problem) if !started => format!("not started: {problem}\n"),
        _ => "ok".to_owned(),
    };
    text(status(started), body)
}

fn is_verbose(uri: &Uri) -> bool {
    uri.query()
        .is_some_and(|query| query.split('&').any(|part| part == "verbose" || part.starts_with("verbose=")))
}

const fn status(ok: bool) -> StatusCode {
    if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
