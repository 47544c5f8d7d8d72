//! The body of a write: bounded in bytes and in time, and whole.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// How long a body may take. A healthy client inside a data centre needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    Empty,
    TooLarge,
    TooSlow,
    /// All bodies together take as much memory as they may.
    NoRoom,
    /// The client broke off, or its framing is wrong.
    Broken,
}

/// Memory for the bodies of all requests that are at work. None left is an answer, not a wait.
#[derive(Clone, Debug)]
pub struct BodyRoom(Arc<Semaphore>);

impl BodyRoom {
    /// Room for this many bytes.
    pub fn of(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, BodyError> {
        let bytes = u32::try_from(bytes).map_err(|_| BodyError::TooLarge)?;
        Arc::clone(&self.0).try_acquire_many_owned(bytes).map_err(|error| match error {
            TryAcquireError::NoPermits => BodyError::NoRoom,
            TryAcquireError::Closed => unreachable!("nobody closes it"),
        })
    }
}

/// A body that has come, and the room that it takes until it is dropped.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Reads all of `body`. One that is declared too large is refused before a byte of it is read.
pub(crate) async fn read(
    body: impl Body<Data = Bytes> + Unpin,
    bytes_max: usize,
    room: &BodyRoom,
) -> Result<Received, BodyError> {
    let declared = body.size_hint().lower();
    if u64::try_from(bytes_max).is_ok_and(|bytes_max| bytes_max < declared) {
        return Err(BodyError::TooLarge);
    }
    let whole = tokio::time::timeout(PATIENCE, read_whole(body, bytes_max, room));
    let whole = whole.await.map_err(|_| BodyError::TooSlow)??;
    if whole.bytes.is_empty() { Err(BodyError::Empty) } else { Ok(whole) }
}

async fn read_whole(
    mut body: impl Body<Data = Bytes> + Unpin,
    bytes_max: usize,
    room: &BodyRoom,
) -> Result<Received, BodyError> {
    // Taken as the bytes come: who only announces a body keeps nobody else out.
    let mut taken = room.take(0)?;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else { continue };
        if bytes_max < first.len() + rest.len() + data.len() {
            return Err(BodyError::TooLarge);
        }
        taken.merge(room.take(data.len())?);
        // Nearly every body comes in one frame, which is used as it is.
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&data);
        }
    }
    let bytes = if rest.is_empty() { first } else { rest.freeze() };
    Ok(Received { bytes, _room: taken })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_share_their_room_and_give_it_back() {
        let room = BodyRoom::of(10);
        let read = |body: &'static str| read(http_body_util::Full::from(body), 8, &room);
        let first = read("12345678").await.expect("there is room");
        assert_eq!(first.bytes, "12345678");
        assert_eq!(read("123").await.err(), Some(BodyError::NoRoom));
        let second = read("12").await.expect("there is room for two more");
        assert_eq!(read("1").await.err(), Some(BodyError::NoRoom));
        drop((first, second));
        assert!(read("12345678").await.is_ok());
        assert_eq!(read("123456789").await.err(), Some(BodyError::TooLarge));
        assert_eq!(read("").await.err(), Some(BodyError::Empty));
    }
}
