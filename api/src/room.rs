//! Whether there is room on the disk for another session, or for a delete.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// How full the disk is. Deletes are taken for as long as anything can be: they are small, and a logout must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Room {
    /// Enough.
    Enough,
    /// For sessions that are there already, so that nobody who is logged in notices.
    ForKnown,
    /// For deletes.
    ForDeletes,
    /// For nothing: what is left is for what the logs and views hold in memory.
    None,
}

/// Says how much room there is; whoever watches the disk sets it.
#[derive(Clone, Debug, Default)]
pub struct DiskRoom(Arc<AtomicU8>);

impl DiskRoom {
    /// As it is from now on. Returns what it was.
    pub fn set(&self, room: Room) -> Room {
        Room::of(self.0.swap(room as u8, Ordering::Relaxed))
    }

    /// As it is.
    pub fn get(&self) -> Room {
        Room::of(self.0.load(Ordering::Relaxed))
    }

    /// Whether a session may be deleted.
    pub(crate) fn takes_deletes(&self) -> bool {
        self.get() < Room::None
    }

    /// Whether a session may be written. Asks whether it is there already only if that matters.
    pub(crate) fn takes<E>(&self, is_known: impl FnOnce() -> Result<bool, E>) -> Result<bool, E> {
        match self.get() {
            Room::Enough => Ok(true),
            Room::ForKnown => is_known(),
            Room::ForDeletes | Room::None => Ok(false),
        }
    }
}

impl Room {
    const fn of(stored: u8) -> Self {
        match stored {
            0 => Self::Enough,
            1 => Self::ForKnown,
            2 => Self::ForDeletes,
            _ => Self::None,
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
        let all = || (takes(true), takes(false), room.takes_deletes());
        assert_eq!(all(), (true, true, true));
        assert_eq!(room.set(Room::ForKnown), Room::Enough);
        assert_eq!(all(), (true, false, true));
        assert_eq!(room.set(Room::ForDeletes), Room::ForKnown);
        assert_eq!(all(), (false, false, true));
        assert_eq!(room.set(Room::None), Room::ForDeletes);
        assert_eq!(all(), (false, false, false));
        assert_eq!(room.set(Room::Enough), Room::None);
        assert_eq!(all(), (true, true, true));
    }
}
