//! The body of a write: bounded in bytes and in time, and whole.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;

/// How long a body may take. A healthy client inside a data centre needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    Empty,
    TooLarge,
    TooSlow,
    /// The client broke off, or its framing is wrong.
    Broken,
}

/// Reads all of `body`. One that is declared too large is refused before a byte of it is read.
pub(crate) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, BodyError> {
    let declared = body.size_hint().lower();
    if u64::try_from(bytes_max).is_ok_and(|bytes_max| bytes_max < declared) {
        return Err(BodyError::TooLarge);
    }
    let whole = tokio::time::timeout(PATIENCE, read_whole(body, bytes_max));
    let whole = whole.await.map_err(|_| BodyError::TooSlow)??;
    if whole.is_empty() { Err(BodyError::Empty) } else { Ok(whole) }
}

async fn read_whole(mut body: Body, bytes_max: usize) -> Result<Bytes, BodyError> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if bytes_max < first.len() + rest.len() + data.len() {
            return Err(BodyError::TooLarge);
        }
        // Nearly every body comes in one frame, which is used as it is.
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}
