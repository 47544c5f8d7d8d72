//! hyper's HTTP/1 server with `TCP_NODELAY`: an accept loop and a function.

use std::convert::Infallible;

use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

pub(super) async fn serve(listener: TcpListener, body: Bytes) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("accept a connection")?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let body = body.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, body.clone()));
            // A client that breaks off is not news.
            let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, body: Bytes) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match *request.method() {
        Method::GET => (StatusCode::OK, body),
        Method::POST => match request.into_body().collect().await {
            Ok(_) => (StatusCode::CREATED, Bytes::new()),
            Err(_) => (StatusCode::BAD_REQUEST, Bytes::new()),
        },
        Method::DELETE => (StatusCode::NO_CONTENT, Bytes::new()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, Bytes::new()),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    Ok(response)
}
