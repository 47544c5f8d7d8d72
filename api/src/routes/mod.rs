//! The table of contents of the data listener.

mod declarations;
pub(crate) mod hashes;
mod metrics;
mod openapi;
pub(crate) mod peer;
mod probes;
mod sessions;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
    routing::any,
};
use http::{HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;
use tower::ServiceExt;

use crate::{App, Kind, Outcome, Problem, sender::Sender};
pub(crate) use metrics::metrics;

/// What answers the requests of a listener.
#[derive(Clone, Debug)]
pub struct Routes {
    /// Answers what no reserved path names. Asked directly: a router would cost a session's request more than all the
    /// rest of it.
    sessions: Option<Arc<App>>,
    others: Router,
}

/// Paths of the data listener that are no sessions, whatever the stores are called. They are open to everybody.
pub const RESERVED: [&str; 6] = ["/healthz", "/livez", "/readyz", "/startupz", "/metrics", "/openapi"];

/// Every route of the data listener. Any method is taken, as Kask's are; sessions tell methods apart themselves.
pub fn routes(app: App) -> Routes {
    let [healthz, livez, readyz, startupz, metrics, openapi] = RESERVED;
    let others = Router::new()
        .route(healthz, any(probes::healthz))
        .route(livez, any(probes::livez))
        .route(readyz, any(probes::readyz))
        .route(startupz, any(probes::startupz))
        .route(metrics, any(self::metrics))
        .route(openapi, any(openapi::openapi))
        .with_state(app.clone());
    Routes { sessions: Some(Arc::new(app)), others }
}

impl Routes {
    /// A listener without sessions.
    pub(crate) const fn without_sessions(others: Router) -> Self {
        Self { sessions: None, others }
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, mut request: Request<Incoming>, sender: Sender) -> Response {
        match &self.sessions {
            Some(app) if !RESERVED.contains(&request.uri().path()) => {
                sessions::session(app, request, &sender).await
            }
            _ => {
                request.extensions_mut().insert(sender);
                let Ok(response) = self.others.clone().oneshot(request.map(Body::new)).await;
                response
            }
        }
    }
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
