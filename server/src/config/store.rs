//! One store: a namespace of sessions with its own rules.

use std::{num::NonZeroU32, time::Duration};

use api::Rates;
use schemas::{SessionTtl, caps};

use super::{
    base_uri::{BaseUri, base_uri},
    section::{Item, Read, Section, section},
    ttl::{max_ttl, ttl},
    value::{Refusal, choice, flag, number, show, text},
};

/// Room between a value and the record that carries it sealed: the seal's own bytes, and what compression adds to a
/// value that does not compress.
const SEALING_BYTES_MAX: usize = 128 * 1024;

/// The largest `max_value_bytes`.
const VALUE_BYTES_MAX: usize = caps::SEALED_BYTES_MAX - SEALING_BYTES_MAX;

/// The rules of one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The path that its URLs begin with. No default, except for the one store of a file without `stores`: `/v1/`.
    /// No store's may be a prefix of another's.
    pub base_uri: BaseUri,
    /// The life of a session whose request names none, in seconds; 0 in a file is never. Default 86400. Too low logs
    /// people out (MediaWiki's `$wgObjectCacheSessionExpiry` must be the same); too high keeps dead sessions on disk.
    pub default_ttl: SessionTtl,
    /// The longest life that a request may ask for, in seconds. Default and lower bound: `default_ttl`. Tombstones, and
    /// what is left of expired sessions, stay in the view for this long and a day, so too high costs disk.
    pub max_ttl: SessionTtl,
    /// Which writes a read is sure to see. Default `dc` when the log is Kafka, else `node`, which is enough where one
    /// node has the log to itself.
    pub read_consistency: ReadConsistency,
    /// The longest value that is accepted, in bytes, 1 to 16,646,144. Default 1 MiB. Too low refuses big sessions with
    /// 413; too high lets a few requests take the room of all bodies.
    pub max_value_bytes: usize,
    /// Whether PUT writes as POST does. Default false, as in Kask.
    pub accept_put: bool,
    /// The shortest value that is compressed, in bytes, 0 to 16,646,144. Default 512. Too low spends time on what gets no smaller;
    /// too high takes disk.
    pub compress_above_bytes: usize,
    /// How many writes and deletes are taken in a second (`rate: { writes_per_s, deletes_per_s }`), each 1 to 4,294,967,295; what is
    /// beyond is answered 503. Default: all. Too low refuses clients; too high, or none, lets whoever makes sessions or logs out fill
    /// the disk as fast as it can be written.
    pub rates: Rates,
    /// How long the tombstones of a store with `default_ttl: 0` are kept, in seconds, from two days up. Default 30 days. A data centre
    /// that was away for longer may bring back what was deleted meanwhile; too long keeps a trace of every delete.
    pub tombstone_retention: Duration,
}

impl StoreConfig {
    /// The default of `max_value_bytes`.
    pub const MAX_VALUE_BYTES: usize = 1024 * 1024;

    /// The default of `compress_above_bytes`: below it zstd rarely wins anything.
    pub const COMPRESS_ABOVE_BYTES: usize = 512;

    /// A store with every default but its path and its TTL.
    pub(super) fn plain(
        base_uri: BaseUri,
        default_ttl: SessionTtl,
        read_consistency: ReadConsistency,
    ) -> Self {
        Self {
            base_uri,
            default_ttl,
            max_ttl: default_ttl,
            read_consistency,
            max_value_bytes: Self::MAX_VALUE_BYTES,
            accept_put: false,
            compress_above_bytes: Self::COMPRESS_ABOVE_BYTES,
            rates: Rates::default(),
            tombstone_retention: caps::UNLIMITED_TOMBSTONE_RETENTION,
        }
    }
}

/// Which writes a read is sure to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadConsistency {
    /// All that this data centre acknowledged before the read began: one look at the log's end per read.
    Dc,
    /// All that this node acknowledged before the read began. Enough where one node serves a data centre.
    Node,
}

const READ_CONSISTENCIES: [(&str, ReadConsistency); 2] =
    [("dc", ReadConsistency::Dc), ("node", ReadConsistency::Node)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Mirrored,
    Local,
}

const SCOPES: [(&str, Scope); 2] = [("mirrored", Scope::Mirrored), ("local", Scope::Local)];

/// A store as it was read: each value, or that it was reported.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) base_uri: Read<BaseUri>,
    pub(super) default_ttl: Read<SessionTtl>,
    max_ttl: Read<SessionTtl>,
    read_consistency: Read<ReadConsistency>,
    max_value_bytes: Read<usize>,
    accept_put: Read<bool>,
    compress_above_bytes: Read<usize>,
    rates: Read<Rates>,
    tombstone_retention: Read<Duration>,
}

impl Draft {
    /// Reads one store; `taken` are the paths of the stores before it, `read_consistency` is the log's default.
    pub(super) fn read(
        store: &mut Section<'_>,
        taken: &[BaseUri],
        read_consistency: ReadConsistency,
    ) -> Self {
        let default_ttl = store.or("default_ttl", SessionTtl::KASK, ttl);
        let value_bytes =
            number("a whole number of bytes", 1..=VALUE_BYTES_MAX, StoreConfig::MAX_VALUE_BYTES);
        let draft = Self {
            base_uri: store.required("base_uri", |item| free_base_uri(item, taken)),
            default_ttl,
            max_ttl: max_ttl(store, default_ttl),
            read_consistency: store.or("read_consistency", read_consistency, choice(&READ_CONSISTENCIES)),
            max_value_bytes: store.or("max_value_bytes", StoreConfig::MAX_VALUE_BYTES, value_bytes),
            accept_put: store.or("accept_put", false, flag),
            compress_above_bytes: store.or(
                "compress_above_bytes",
                StoreConfig::COMPRESS_ABOVE_BYTES,
                number("a whole number of bytes", 0..=VALUE_BYTES_MAX, StoreConfig::COMPRESS_ABOVE_BYTES),
            ),
            rates: store.or("rate", Rates::default(), section(rates)),
            tombstone_retention: tombstone_retention(store, default_ttl),
        };
        check_what_comes_later(store);
        draft
    }

    /// The store, when nothing was wrong with it.
    pub(super) fn finish(self) -> Read<StoreConfig> {
        Ok(StoreConfig {
            base_uri: self.base_uri?,
            default_ttl: self.default_ttl?,
            max_ttl: self.max_ttl?,
            read_consistency: self.read_consistency?,
            max_value_bytes: self.max_value_bytes?,
            accept_put: self.accept_put?,
            compress_above_bytes: self.compress_above_bytes?,
            rates: self.rates?,
            tombstone_retention: self.tombstone_retention?,
        })
    }
}

fn free_base_uri(item: &mut Item<'_>, taken: &[BaseUri]) -> Read<BaseUri> {
    let base_uri = base_uri(item)?;
    match taken.iter().find(|other| other.is_prefix_of(&base_uri) || base_uri.is_prefix_of(other)) {
        None => Ok(base_uri),
        Some(other) => {
            let need = format!("a path neither above nor below another store's, {other}");
            Err(item.refuse(Refusal::new(show(item.value), need, "choose another path")))
        }
    }
}

fn check_what_comes_later(store: &mut Section<'_>) {
    const LEAVE_OUT: &str = "leave it out";
    let scope = store.or("scope", Scope::Mirrored, choice(&SCOPES));
    if scope == Ok(Scope::Local) {
        store.not_built("scope", "use `mirrored`");
    }
    store.later("quota_bytes", LEAVE_OUT, |item| quota_bytes(item, scope));
    store.later("seal", LEAVE_OUT, flag);
    store.later("conditions", LEAVE_OUT, flag);
    store.later("renew_on_read", LEAVE_OUT, flag);
    store.later("max_lifetime", LEAVE_OUT, seconds);
    store.later("principals_uri", LEAVE_OUT, base_uri);
    store.later("drain_from", LEAVE_OUT, text);
}

/// A mirrored store has no quota: evicting one of its tombstones would bring a session back.
fn quota_bytes(item: &mut Item<'_>, scope: Read<Scope>) -> Read<u64> {
    let quota = number("a whole number of bytes", 1..=u64::MAX, 1 << 30)(item)?;
    match scope {
        Ok(Scope::Mirrored) => {
            let need = "`scope: local`, as a quota would bring back deleted sessions of a mirrored store";
            Err(item.refuse(Refusal::new(show(item.value), need, "leave it out")))
        }
        _ => Ok(quota),
    }
}

fn rates(rates: &mut Section<'_>) -> Read<Rates> {
    let mut per_s = |key, example| {
        let per_s = rates.optional(key, number("a whole number of requests", 1..=u32::MAX, example));
        Ok(per_s?.and_then(NonZeroU32::new))
    };
    let (writes, deletes) = (per_s("writes_per_s", 2000), per_s("deletes_per_s", 500));
    Ok(Rates { writes_per_s: writes?, deletes_per_s: deletes? })
}

/// Where sessions expire, what is left of a delete lives as long as they may and a day.
fn tombstone_retention(store: &mut Section<'_>, default_ttl: Read<SessionTtl>) -> Read<Duration> {
    const KEY: &str = "tombstone_retention";
    let shortest = 2 * caps::RETENTION_SLACK.as_secs();
    let range = shortest..=caps::TTL_SECONDS_MAX;
    let asked = store.optional(KEY, number("a whole number of seconds", range, 30 * 24 * 3600))?;
    match (asked, default_ttl?) {
        (Some(seconds), SessionTtl::Seconds(_)) => {
            let need =
                "`default_ttl: 0`, as the tombstones of sessions that expire live as long as those may";
            Err(store.refuse(KEY, Refusal::new(seconds.to_string(), need, "leave it out")))
        }
        (Some(seconds), SessionTtl::Never) => Ok(Duration::from_secs(seconds)),
        (None, _) => Ok(caps::UNLIMITED_TOMBSTONE_RETENTION),
    }
}

fn seconds(item: &mut Item<'_>) -> Read<u64> {
    number("a whole number of seconds", 1..=caps::TTL_SECONDS_MAX, 86_400)(item)
}
