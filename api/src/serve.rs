//! The connections of the data listener.
//!
//! Our own accept loop, because `axum::serve` installs no timer: without one, hyper's wait for a request head never ends.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::IntoResponse};
use http::{HeaderValue, Request, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::{
    Kind, Problem,
    head::{SeenHeads, Watched},
};

/// How long a request head may take, and how long a connection may idle between requests.
const HEAD_PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before accepting again when the process is out of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Serves connections until `stop`, then lets those that run finish their request.
///
/// At most `connections_max` are served at a time; more wait in the listener's backlog.
pub async fn serve(listener: TcpListener, router: Router, connections_max: usize, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(connections_max));
    let connections = TaskTracker::new();
    while let Some((stream, place)) = accept(&listener, &places, &stop).await {
        connections.spawn(connection(stream, router.clone(), stop.clone(), place));
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection and its place. `None` when it is time to stop.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = stop.run_until_cancelled(Arc::clone(places).acquire_owned()).await?.ok()?;
    loop {
        match stop.run_until_cancelled(listener.accept()).await? {
            Ok((stream, _)) => return Some((stream, place)),
            Err(error) => {
                tracing::warn!("Cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("Cannot set TCP_NODELAY: {error}");
    }
    let (watched, heads) = Watched::new(stream);
    let service = service_fn(move |request| one(router.clone(), heads.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .serve_connection(TokioIo::new(watched), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // A client that breaks off is not news.
        tracing::trace!("A connection ended early: {error}");
    }
}

async fn one(
    router: Router,
    heads: SeenHeads,
    request: Request<Incoming>,
) -> Result<axum::response::Response, Infallible> {
    let seen = heads.next();
    if seen.fragment {
        // hyper has cut it off: routed, this would be answered for another key.
        let problem = Problem::new(Kind::BadRequest, "/").because("a # in the target must be sent as %23");
        return Ok(problem.into_response());
    }
    let mut response = router.oneshot(request.map(Body::new)).await?;
    // The router counts the bytes of the body, of which a 304 has none: but a length there would be the session's.
    if response.status() == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    // After a chunked body nothing is known of where the next request begins.
    if seen.chunked {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
