//! `axum::serve` as one would write it first, with `TCP_NODELAY`: a route and three handlers.

use anyhow::Context;
use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
    serve::ListenerExt,
};
use tokio::net::TcpListener;

pub(super) async fn serve(listener: TcpListener, body: Bytes) -> anyhow::Result<()> {
    let router = Router::new().route("/{*key}", get(read).post(write).delete(delete)).with_state(body);
    // Without it a small answer may wait for an acknowledgement of the one before. Those who cannot set it are slow.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, router).await.context("serve")
}

async fn read(Path(_key): Path<String>, State(body): State<Bytes>) -> Bytes {
    body
}

async fn write(Path(_key): Path<String>, _body: Bytes) -> StatusCode {
    StatusCode::CREATED
}

async fn delete(Path(_key): Path<String>) -> StatusCode {
    StatusCode::NO_CONTENT
}
