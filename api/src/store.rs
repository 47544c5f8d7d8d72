//! A store as its requests see it.

use std::sync::{Arc, OnceLock};

use eventlog::EventLog;
use materializer::{Declared, Reads};
use schemas::{SessionTtl, StoreName};
use writer::Writer;

use crate::{Rates, Sealer, rates::Limiter};

/// The rules of a store, and what works behind it once it has been opened.
#[derive(Debug)]
pub struct Store {
    /// Its name.
    pub name: StoreName,
    /// What its requests may do.
    pub rules: Rules,
    /// Seals its sessions.
    pub sealer: Sealer,
    pub(crate) limiter: Limiter,
    backend: OnceLock<Backend>,
}

/// What requests may do in a store.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What precedes the key in a path: begins and ends with a slash.
    pub base_uri: Box<str>,
    /// How long a session lives when the client does not say.
    pub default_ttl: SessionTtl,
    /// How long it may live when the client does.
    pub max_ttl: SessionTtl,
    /// Bytes of the largest body.
    pub value_bytes_max: usize,
    /// Whether PUT writes as POST does.
    pub takes_put: bool,
    /// How much is taken in a second.
    pub rates: Rates,
}

/// What works behind a store.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Where sessions are written.
    pub writer: Arc<Writer>,
    /// Where they are read.
    pub reads: Arc<Reads>,
    /// What the logs say of data centres.
    pub declared: Arc<Declared>,
    /// The log that this data centre writes, for other data centres that copy it.
    pub log: Arc<dyn EventLog>,
    /// The copies of what the others write: one that has lost its own log finds it here.
    pub copies: Vec<Arc<dyn EventLog>>,
}

impl Store {
    /// A store that is not open yet.
    ///
    /// # Panics
    /// When the base URI does not begin and end with a slash: the configuration sees to that.
    pub fn new(name: StoreName, rules: Rules, sealer: Sealer) -> Self {
        let base_uri = &rules.base_uri;
        assert!(
            base_uri.starts_with('/') && base_uri.ends_with('/'),
            "the base URI {base_uri} is normalised"
        );
        let limiter = Limiter::of(rules.rates);
        Self { name, rules, sealer, limiter, backend: OnceLock::new() }
    }

    /// What precedes the key in a path: begins and ends with a slash.
    pub fn base_uri(&self) -> &str {
        &self.rules.base_uri
    }

    /// The store is open: requests may use it, as soon as the node is ready.
    ///
    /// # Panics
    /// When it was open already.
    pub fn open(&self, backend: Backend) {
        self.backend.set(backend).expect("a store is opened once");
    }

    /// `None` until the store is open.
    pub(crate) fn backend(&self) -> Option<&Backend> {
        self.backend.get()
    }
}

/// All stores of the process. No base URI is a prefix of another.
#[derive(Debug)]
pub struct Stores(Vec<Store>);

impl Stores {
    /// Any number of stores, in the order of the configuration.
    ///
    /// # Panics
    /// When base URIs overlap: the configuration sees to that.
    pub fn new(stores: Vec<Store>) -> Self {
        for (n, store) in stores.iter().enumerate() {
            let overlaps = |other: &Store| other.base_uri().starts_with(store.base_uri());
            assert!(
                !stores.iter().enumerate().any(|(m, other)| m != n && overlaps(other)),
                "base URIs overlap"
            );
        }
        Self(stores)
    }

    /// The stores.
    pub fn iter(&self) -> impl Iterator<Item = &Store> {
        self.0.iter()
    }

    /// The store of this name.
    pub fn get(&self, name: &StoreName) -> Option<&Store> {
        self.0.iter().find(|store| store.name == *name)
    }
}
