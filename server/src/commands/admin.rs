//! Asks the admin listener of a node.

use anyhow::{Context, anyhow};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    header::{self, HeaderMap},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::Failure;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Null when there is no body, or none of JSON.
    pub(super) body: Value,
}

/// A GET.
///
/// # Errors
/// [`Failure::Unavailable`] when nobody answers.
pub(super) async fn look(address: &str, path: &str) -> anyhow::Result<Answer> {
    ask(address, Method::GET, path, Bytes::new()).await
}

/// A POST, with what is to be said in its body.
///
/// # Errors
/// [`Failure::Unavailable`] when nobody answers.
pub(super) async fn order(address: &str, path: &str, with: Option<Value>) -> anyhow::Result<Answer> {
    let body = with.map(|with| with.to_string()).unwrap_or_default();
    ask(address, Method::POST, path, body.into()).await
}

/// The same as a PUT.
///
/// # Errors
/// [`Failure::Unavailable`] when nobody answers.
pub(super) async fn put(address: &str, path: &str, with: &Value) -> anyhow::Result<Answer> {
    ask(address, Method::PUT, path, with.to_string().into()).await
}

/// A request on a connection of its own.
async fn ask(address: &str, method: Method, path: &str, body: Bytes) -> anyhow::Result<Answer> {
    let unavailable = |error: &dyn std::fmt::Display| {
        let why =
            format!("no node answers at {address}: {error}. Does it run, and is this its admin listener?");
        anyhow!(Failure::Unavailable(why))
    };
    let stream = TcpStream::connect(address).await.map_err(|error| unavailable(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| unavailable(&error))?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, address)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .with_context(|| format!("ask for {path}"))?;
    // It owns the sender: once that is gone, the connection ends.
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        Ok::<_, hyper::Error>((parts, body.collect().await?.to_bytes()))
    };
    let (exchanged, _ended) = tokio::join!(exchange, connection);
    let (parts, body) = exchanged.map_err(|error| unavailable(&error))?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

impl Answer {
    /// What a problem document says, as a failure.
    pub(super) fn refusal(&self) -> anyhow::Error {
        let said = |name| self.body.get(name).and_then(Value::as_str).unwrap_or_default();
        let what = format!("{} ({}): {}", said("title"), self.status.as_u16(), said("detail"));
        match self.status {
            StatusCode::NOT_FOUND => Failure::NotFound(what).into(),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT => Failure::Unavailable(what).into(),
            _ => anyhow!(what),
        }
    }
}
