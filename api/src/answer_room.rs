//! Memory for large answers that their clients have not taken yet.
//!
//! A client that reads slowly keeps its answer in memory for as long as it likes to; a thousand of them must not fill the
//! machine. Ordinary sessions are small: they are not counted, so that they cost nothing more, and are served however many
//! large ones wait. What those may hold is bounded by the number of connections, at 64 KiB for each.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes from which an answer counts. Nearly all sessions are smaller; a connection's buffers take as much.
const COUNTED_FROM: usize = 64 * 1024;

/// Memory for large answers that wait to be taken. None left is an answer, not a wait.
#[derive(Clone, Debug)]
pub struct AnswerRoom(Arc<Semaphore>);

/// What is to be answered, and the room that it takes until the last byte of it has been written out.
struct Held {
    contents: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.contents
    }
}

impl AnswerRoom {
    /// Room for this many bytes.
    pub fn of(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// The same contents, which take room from now on until they are dropped. `None` when there is none.
    ///
    /// IMPORTANT: the room hangs on the bytes, not on the body that carries them: the connection drops a body as soon as it
    /// has its bytes, long before the client takes them.
    pub(crate) fn hold(&self, contents: Bytes) -> Option<Bytes> {
        if contents.len() < COUNTED_FROM {
            return Some(contents);
        }
        let bytes = u32::try_from(contents.len()).ok()?;
        let room = Arc::clone(&self.0).try_acquire_many_owned(bytes).ok()?;
        Some(Bytes::from_owner(Held { contents, _room: room }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_answers_share_their_room_and_give_it_back_with_their_last_byte() {
        let room = AnswerRoom::of(3 * COUNTED_FROM);
        let large = || Bytes::from(vec![7; COUNTED_FROM]);
        let mut first = room.hold(large()).expect("there is room");
        assert_eq!(first, large());
        let others = [room.hold(large()), room.hold(large())];
        assert!(others.iter().all(Option::is_some));
        assert_eq!(room.hold(large()), None);
        // As it is written out, piece by piece.
        let last = first.split_off(COUNTED_FROM - 1);
        drop(first);
        assert_eq!(room.hold(large()), None, "a byte of it is still there");
        drop(last);
        assert!(room.hold(large()).is_some());
    }

    #[test]
    fn small_answers_need_no_room() {
        let room = AnswerRoom::of(0);
        let small = Bytes::from(vec![7; COUNTED_FROM - 1]);
        assert_eq!(room.hold(small.clone()), Some(small));
        assert_eq!(room.hold(Bytes::from(vec![7; COUNTED_FROM])), None);
    }
}
