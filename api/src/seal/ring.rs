//! The ring of secrets: the first seals, all open. It is replaced while it is used, and by nobody who uses it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
};

use zeroize::Zeroizing;

use super::{RingSecret, SEAL_ID, SealerError, derive};

/// The secrets that all stores seal with.
#[derive(Debug)]
pub struct Ring {
    keys: RwLock<Arc<Keys>>,
    /// What was in use before, as long as a write is on its way that was sealed with it.
    before: Mutex<Vec<Weak<Keys>>>,
}

/// What is made of the secrets, once for all values.
pub(super) struct Keys {
    secrets: Vec<RingSecret>,
    by_id: BTreeMap<u32, Zeroizing<[u8; 32]>>,
    pub(super) seals_with: u32,
    seal_id: String,
}

/// The ring at one moment.
#[derive(Clone, Debug)]
pub struct RingNow(Arc<Keys>);

/// What a value was sealed with. To be held until the value stands in the log, or never will.
#[derive(Debug)]
pub struct SealedBy(Arc<Keys>);

impl Ring {
    /// The first seals, all open.
    ///
    /// # Errors
    /// When there is none, or an id stands there twice.
    pub fn of(secrets: &[RingSecret]) -> Result<Self, SealerError> {
        let keys = Arc::new(Keys::of(secrets)?);
        Ok(Self { keys: RwLock::new(keys), before: Mutex::default() })
    }

    /// Seals and opens with these from now on, if it is still as it was.
    ///
    /// # Errors
    /// As [`of`](Self::of), and when it was replaced since; then everything is as before.
    pub fn replace(&self, was: &RingNow, secrets: &[RingSecret]) -> Result<(), SealerError> {
        let keys = Arc::new(Keys::of(secrets)?);
        let mut before = self.before();
        // Nobody else can have its place while it is held.
        if !Arc::ptr_eq(&was.0, &self.keys()) {
            return Err(SealerError::Outdated);
        }
        let old = std::mem::replace(&mut *self.keys.write().expect("no holder panics"), keys);
        before.retain(|keys| 0 < keys.strong_count());
        before.push(Arc::downgrade(&old));
        Ok(())
    }

    /// As it is.
    pub fn now(&self) -> RingNow {
        RingNow(self.keys())
    }

    /// Whether a write under it may still be on its way.
    pub(crate) fn is_sealing(&self, id: u32) -> bool {
        let before = self.before();
        let mut in_use = before.iter().filter_map(Weak::upgrade).chain([self.keys()]);
        in_use.any(|keys| keys.seals_with == id)
    }

    /// Whoever holds it is the only one who replaces the keys.
    fn before(&self) -> MutexGuard<'_, Vec<Weak<Keys>>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys.read().expect("no holder panics"))
    }
}

impl RingNow {
    /// The secrets, the one that seals first.
    pub fn secrets(&self) -> &[RingSecret] {
        &self.0.secrets
    }

    /// Their ids.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> {
        self.secrets().iter().map(|secret| secret.id)
    }

    /// The secrets but for this one.
    pub(crate) fn without(&self, id: u32) -> Vec<RingSecret> {
        self.secrets().iter().filter(|secret| secret.id != id).cloned().collect()
    }
}

impl Keys {
    fn of(secrets: &[RingSecret]) -> Result<Self, SealerError> {
        let seals_with = secrets.first().ok_or(SealerError::EmptyRing)?.id;
        let mut by_id = BTreeMap::new();
        for RingSecret { id, secret } in secrets {
            if by_id.insert(*id, derive("solera 2026-11-21 seal v1", secret)).is_some() {
                return Err(SealerError::Repeated(*id));
            }
        }
        Ok(Self { secrets: secrets.to_vec(), by_id, seals_with, seal_id: seals_with.to_string() })
    }

    pub(super) fn get(&self, id: u32) -> Option<&[u8; 32]> {
        self.by_id.get(&id).map(|key| &**key)
    }

    pub(super) fn sealing(&self) -> &[u8; 32] {
        &self.by_id[&self.seals_with]
    }
}

// Not derived: what stands in it opens sessions.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("ids", &self.by_id.keys()).field("seals_with", &self.seals_with).finish()
    }
}

impl SealedBy {
    pub(super) const fn new(keys: Arc<Keys>) -> Self {
        Self(keys)
    }

    /// The id of the secret, as the header that travels with the value.
    pub fn header(&self) -> (&'static str, &[u8]) {
        (SEAL_ID, self.0.seal_id.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::{super::Secret, *};

    fn secrets(ids: &[u32]) -> Vec<RingSecret> {
        let secret = |id: u32| Secret::new(Zeroizing::new(vec![u8::try_from(id).unwrap(); 32])).unwrap();
        ids.iter().map(|&id| RingSecret { id, secret: secret(id) }).collect()
    }

    #[test]
    fn a_ring_has_a_first_secret_and_no_id_twice() {
        let new = |ids: &[u32]| Ring::of(&secrets(ids)).err();
        assert_eq!(new(&[]), Some(SealerError::EmptyRing));
        assert_eq!(new(&[2, 1, 2]), Some(SealerError::Repeated(2)));
        assert_eq!(new(&[2, 1]), None);
        let ring = Ring::of(&secrets(&[1])).unwrap();
        assert_eq!(ring.replace(&ring.now(), &secrets(&[3, 3])), Err(SealerError::Repeated(3)));
        assert_eq!(ring.keys().seals_with, 1, "nothing was changed");
    }

    #[test]
    fn a_secret_seals_until_the_last_write_under_it_is_done() {
        let ring = Ring::of(&secrets(&[1])).unwrap();
        let on_its_way = SealedBy::new(ring.keys());
        assert_eq!(on_its_way.header(), ("q", &b"1"[..]));
        ring.replace(&ring.now(), &secrets(&[2, 1])).unwrap();
        ring.replace(&ring.now(), &secrets(&[3, 2, 1])).unwrap();
        let sealing = |ids: [u32; 3]| ids.map(|id| ring.is_sealing(id));
        assert_eq!(sealing([1, 2, 3]), [true, false, true]);
        drop(on_its_way);
        assert_eq!(sealing([1, 2, 3]), [false, false, true]);
    }

    #[test]
    fn a_ring_that_was_replaced_meanwhile_is_left_alone() {
        let ring = Ring::of(&secrets(&[2, 1])).unwrap();
        let counted = ring.now();
        // 1 seals for a moment.
        ring.replace(&ring.now(), &secrets(&[1, 2])).unwrap();
        ring.replace(&ring.now(), &secrets(&[2, 1])).unwrap();
        assert_eq!(ring.replace(&counted, &counted.without(1)), Err(SealerError::Outdated));
        let again = ring.now();
        assert_eq!(ring.replace(&again, &again.without(1)), Ok(()));
        assert_eq!(ring.now().ids().collect::<Vec<_>>(), [2]);
    }
}
