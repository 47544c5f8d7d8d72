//! The connections of the data listener.
//!
//! Our own accept loop, because `axum::serve` neither bounds connections nor lets go of clients that send or take
//! nothing.

use std::{convert::Infallible, io, net::SocketAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::response::IntoResponse;
use futures::FutureExt;
use http::{HeaderValue, Request, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Kind, Lanes, Outcome, Problem, Routes, Tls,
    head::{HEAD_BYTES_MAX, SeenHeads, Watched},
    patience::Taking,
    sender::Sender,
    tls::ClientCertificate,
};

/// How long a connection may go on after the order to stop: what a body may take, the answer, and a bit.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait before accepting again when the process is out of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Serves connections until `stop`, then lets those that run finish their request.
///
/// With `tls` they speak TLS. `lanes` are where they are served. At most `connections_max` are served at a time,
/// handshakes included; more wait in the listener's backlog.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    routes: Routes,
    connections_max: usize,
    lanes: Lanes,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(connections_max));
    while let Some((accepted, place)) = accept(&listener, &places, &stop).await {
        lanes.spawn(connection(accepted, tls.clone(), routes.clone(), stop.clone(), place));
    }
    drop(listener);
    lanes.wait().await;
}

/// Serves one connection that somebody else has accepted, and which is no TCP of this machine, until it ends or `stop`.
pub async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    routes: Routes,
    stop: CancellationToken,
) {
    requests(stream, Sender::default(), routes, stop).await;
}

/// A connection, and where it comes from.
type Accepted = (std::net::TcpStream, SocketAddr);

/// The next connection and its place. `None` when it is time to stop.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(Accepted, OwnedSemaphorePermit)> {
    let place = stop.run_until_cancelled(Arc::clone(places).acquire_owned()).await?.ok()?;
    loop {
        // It is watched by the runtime that serves it, and not by this one any more.
        let accepted = async {
            let (stream, from) = listener.accept().await?;
            io::Result::Ok((stream.into_std()?, from))
        };
        match stop.run_until_cancelled(accepted).await? {
            Ok(accepted) => return Some((accepted, place)),
            Err(error) => {
                tracing::warn!("Cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

async fn connection(
    (accepted, from): Accepted,
    tls: Option<Arc<Tls>>,
    routes: Routes,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
) {
    let stream = match TcpStream::from_std(accepted) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!("Cannot serve a connection: {error}"),
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("Cannot set TCP_NODELAY: {error}");
    }
    let address = Some(from);
    let Some(tls) = tls else {
        let sender = Sender { address, certificate: None };
        return requests(Taking::new(stream), sender, routes, stop).await;
    };
    // Nothing was asked yet, so a stop need not wait.
    if let Some(Some(stream)) = stop.run_until_cancelled(tls.accept(stream)).await {
        let sender = Sender { address, certificate: ClientCertificate::of(&stream) };
        requests(stream, sender, routes, stop).await;
    }
}

/// The requests of one connection, and the order to stop.
async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    sender: Sender,
    routes: Routes,
    stop: CancellationToken,
) {
    let (watched, heads) = Watched::new(stream);
    let routes = Arc::new(routes);
    let service = service_fn(move |request: Request<Incoming>| {
        one(Arc::clone(&routes), heads.clone(), sender.clone(), request)
    });
    let connection = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        // A request that came whole is carried out and answered, as Kask does, whether or not the client hung up by then.
        .half_close(true)
        .serve_connection(TokioIo::new(watched), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // A client that sends half a request, or takes no answer, must not hold up the stop.
            let Ok(ended) = tokio::time::timeout(DRAIN_PATIENCE, connection).await else { return };
            ended
        }
    };
    if let Err(error) = ended {
        // A client that breaks off is not news.
        tracing::trace!("A connection ended early: {error}");
    }
}

async fn one(
    routes: Arc<Routes>,
    heads: SeenHeads,
    sender: Sender,
    request: Request<Incoming>,
) -> Result<axum::response::Response, Infallible> {
    let seen = heads.next();
    if seen.fragment {
        // hyper has cut it off: routed, this would be answered for another key.
        let problem = Problem::new(Kind::BadRequest, "/").because("a # in the target must be sent as %23");
        // Closing, because what follows a chunked body would not be looked at.
        return Ok(problem.closing().into_response());
    }
    if seen.two_lengths {
        let problem =
            Problem::new(Kind::BadRequest, "/").because("Content-Length beside Transfer-Encoding").closing();
        return Ok(problem.into_response());
    }
    let answered = AssertUnwindSafe(routes.answer(request, sender)).catch_unwind();
    let mut response = match answered.await {
        Ok(response) => response,
        // The panic itself was logged where it happened. A write may have been stored before it.
        Err(_) => Problem::new(Kind::ServerError(Outcome::Unknown), "/").closing().into_response(),
    };
    // After a chunked body nothing is known of where the next request begins.
    if seen.chunked {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use axum::{Router, routing::get};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn start(others: Router, connections_max: usize) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(serve(
            listener,
            None,
            Routes::without_sessions(others),
            connections_max,
            Lanes::here(),
            CancellationToken::new(),
        ));
        address
    }

    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("the server reads");
        let mut answer = vec![0; 4096];
        let bytes = stream.read(&mut answer).await.expect("the server answers");
        String::from_utf8_lossy(&answer[..bytes]).into_owned()
    }

    #[tokio::test]
    async fn a_panic_is_a_500_of_unknown_outcome_and_the_next_is_served() {
        let address = start(Router::new().route("/a", get(panics)), 10).await;
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.expect("the server accepts");
            let answer = ask(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
            assert!(answer.contains("connection: close") && answer.contains("\"unknown\""), "{answer}");
        }
    }

    async fn panics() -> &'static str {
        panic!("a bug")
    }

    #[tokio::test]
    async fn connections_above_the_limit_wait_for_a_place() {
        let address = start(Router::new().route("/a", get(|| async { "here" })), 1).await;
        let mut first = TcpStream::connect(address).await.expect("the server accepts");
        assert!(ask(&mut first).await.contains("here"));
        let mut second = TcpStream::connect(address).await.expect("the backlog takes it");
        let early = tokio::time::timeout(Duration::from_millis(200), ask(&mut second)).await;
        assert!(early.is_err(), "it was served beside the first");
        drop(first);
        let mut third = [0; 15];
        let answer = tokio::time::timeout(Duration::from_secs(10), second.read_exact(&mut third)).await;
        answer.expect("it has its turn").expect("the server answers");
        assert_eq!(&third, b"HTTP/1.1 200 OK");
    }
}
