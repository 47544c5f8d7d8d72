//! What clients do, and what they remember of it.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use materializer::{State, Visible};
use rand::Rng;
use schemas::{Headers, KeyId, Sealed, Timestamp, Until};
use server::store::StoreNode;
use tokio::task::JoinSet;
use writer::{Deadline, Set};

use super::{chance::Chance, node::TTL_MAX};

/// Few keys, so that operations meet.
const KEYS: u8 = 2;

/// Runs so many clients of so many operations side by side, until each has done its share of a phase. Each is told its number and
/// the first of the values that it alone writes.
pub(crate) async fn clients<C>(
    phase: usize,
    (count, operations): (usize, usize),
    client: impl Fn(usize, u64) -> C,
) where
    C: Future<Output = ()> + 'static,
{
    let mut clients = JoinSet::new();
    for n in 0..count {
        let first_value = (phase * count + n) * operations;
        clients.spawn_local(client(n, first_value as u64));
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
}

/// One operation of one client.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    /// Whose session.
    pub(crate) key: u8,
    /// The data centre that was asked.
    pub(crate) dc: usize,
    /// Whose memory of what readers were told: a machine's, for as long as its disk remembers.
    pub(crate) memory: usize,
    /// What was asked.
    pub(crate) asked: Asked,
    /// When it ends if it is a put, answered or not.
    pub(crate) expires_at: Option<Until>,
    /// What was answered; `None` when the client cannot know what happened.
    pub(crate) answer: Option<Answer>,
    /// Its place among all beginnings and ends of operations.
    pub(crate) began: u64,
    /// The same for the answer.
    pub(crate) ended: u64,
    /// When it began, in true time since the world did.
    pub(crate) began_at: Duration,
    /// When it was answered.
    pub(crate) ended_at: Duration,
}

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Store this value, which nobody else stores.
    Put { value: u64, is_short: bool },
    /// Delete.
    Delete,
    /// Read.
    Get,
}

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 201 or 204.
    Done,
    /// 200 with this value, which expires then.
    Found { value: u64, expires_at: Until, told_at: Timestamp },
    /// 404, at a moment that was no later than this.
    NotFound { told_at: Timestamp },
}

impl Asked {
    /// Chooses an operation; `value` is used if it is a put.
    pub(crate) fn choose(chance: &Chance, value: u64) -> (u8, Self) {
        let mut chance = chance.lock().unwrap();
        let asked = match chance.random_range(0..10) {
            0..4 => Self::Put { value, is_short: chance.random_ratio(1, 5) },
            4..6 => Self::Delete,
            _ => Self::Get,
        };
        (chance.random_range(0..KEYS), asked)
    }

    /// When what a node is asked to store now would expire.
    pub(crate) fn expires_at(self, store: &StoreNode) -> Option<Until> {
        match self {
            Self::Put { is_short, .. } => {
                Some(Until::At(store.reads.clock.read_now().saturating_add(ttl(is_short))))
            }
            Self::Delete | Self::Get => None,
        }
    }

    /// Asks a node, and waits for so long.
    pub(crate) async fn ask(
        self,
        store: Arc<StoreNode>,
        key: u8,
        expires_at: Option<Until>,
        patience: Duration,
    ) -> Option<Answer> {
        let key = key_id(key);
        let deadline = Deadline::within(patience);
        match self {
            Self::Put { value, .. } => {
                let expires_at = expires_at?;
                let sealed = Sealed(Bytes::copy_from_slice(&value.to_be_bytes()));
                let set = Set { key, sealed, expires_at, headers: Headers::default() };
                store.writer.put(set, deadline, ()).await.ok().map(|_| Answer::Done)
            }
            Self::Delete => {
                store.writer.delete(key, Headers::default(), deadline).await.ok().map(|_| Answer::Done)
            }
            Self::Get => {
                let seen = store.reads.visible(key, patience).await.ok()?;
                let told_at = store.reads.clock.last_read_now();
                let Some(Visible { cell, .. }) = seen else { return Some(Answer::NotFound { told_at }) };
                let State::Live { expires_at, sealed } = &cell.state else {
                    unreachable!("only live cells are visible")
                };
                let value = u64::from_be_bytes(sealed.0.as_ref().try_into().unwrap());
                let expires_at = *expires_at;
                Some(Answer::Found { value, expires_at, told_at })
            }
        }
    }
}

/// How long a session lives.
pub(crate) const fn ttl(is_short: bool) -> Duration {
    if is_short { Duration::from_millis(300) } else { TTL_MAX }
}

/// The key id of a small number.
fn key_id(key: u8) -> KeyId {
    KeyId::from_bytes([key; 16])
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, dc, asked, answer, began, ended, .. } = self;
        write!(f, "{began:>4}-{ended:<4} dc {dc} key {key} {asked:?} -> {answer:?}")
    }
}
