//! What may be told of secrets: other data centres compare it.

use std::{collections::BTreeMap, sync::Arc};

use writer::peer::messages::INDEX_SECRET;

use crate::{Ring, Secret};

/// Of each secret, by name: equal if they are. Those of the ring follow it.
#[derive(Clone, Debug)]
pub struct Fingerprints {
    index: Arc<str>,
    ring: Arc<Ring>,
}

impl Fingerprints {
    /// That of the index secret is `index`.
    pub fn of(index: &str, ring: Arc<Ring>) -> Self {
        Self { index: index.into(), ring }
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<String, String> {
        const CONTEXT: &str = "solera 2026-11-22 ring secret fingerprint v1";
        let now = self.ring.now();
        let ring = now.secrets().iter().map(|of| {
            let name = format!("ring-{}", of.id);
            (name, fingerprint(CONTEXT, &of.secret))
        });
        std::iter::once((INDEX_SECRET.to_owned(), self.index.to_string())).chain(ring).collect()
    }

    /// That of the index secret.
    pub fn index(&self) -> &str {
        &self.index
    }
}

/// What may be told of the index secret.
pub fn index_fingerprint(index: &Secret) -> String {
    fingerprint("solera 2026-11-21 index secret fingerprint v1", index)
}

fn fingerprint(context: &str, secret: &Secret) -> String {
    let hash = blake3::derive_key(context, secret.expose());
    hash[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
