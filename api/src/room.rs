//! Whether there is room on the disk for another session.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// How full the disk is. Deletes are taken in any case: they are small, and a logout must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Room {
    /// Enough.
    Enough,
    /// For sessions that are there already, so that nobody who is logged in notices.
    ForKnown,
    /// For no write.
    None,
}

/// Says how much room there is; whoever watches the disk sets it.
#[derive(Clone, Debug, Default)]
pub struct DiskRoom(Arc<AtomicU8>);

impl DiskRoom {
    /// As it is from now on.
    pub fn set(&self, room: Room) {
        self.0.store(room as u8, Ordering::Relaxed);
    }

    /// As it is.
    pub fn get(&self) -> Room {
        match self.0.load(Ordering::Relaxed) {
            0 => Room::Enough,
            1 => Room::ForKnown,
            _ => Room::None,
        }
    }

    /// Whether a session may be written. Asks whether it is there already only if that matters.
    pub(crate) fn takes<E>(&self, is_known: impl FnOnce() -> Result<bool, E>) -> Result<bool, E> {
        match self.get() {
            Room::Enough => Ok(true),
            Room::ForKnown => is_known(),
            Room::None => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn the_less_room_there_is_the_less_is_taken() {
        let room = DiskRoom::default();
        let takes =
            |is_known| room.takes(|| Ok::<_, Infallible>(is_known)).unwrap_or_else(|never| match never {});
        assert_eq!((takes(true), takes(false)), (true, true));
        room.set(Room::ForKnown);
        assert_eq!((takes(true), takes(false)), (true, false));
        room.set(Room::None);
        assert_eq!((takes(true), takes(false)), (false, false));
        room.set(Room::Enough);
        assert_eq!((takes(true), takes(false)), (true, true));
    }
}
