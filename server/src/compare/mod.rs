//! Whether another data centre holds what this one holds.
//!
//! ```text
//!   sums       of both, from an hour on that neither has come to; a few times, since what is on its way differs for a moment
//!   cells      of the buckets that differed each time: keys of which the two do not hold the same
//!   beacon     appended to its own log by every data centre; when both have applied all of them, each has applied all
//!              that stood in any log when the cells were read
//!   cells      of those buckets once more: see `judge`
//! ```
//! Until the beacon is everywhere nobody can tell a loss from a lag, and that is what is said then.

mod judge;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use api::{CompareOrder, Compared, DifferingKey, NotCompared};
use futures::future::join_all;
use materializer::{BUCKETS, Essence, Essences, Hour, Reads, Summed, ViewError, cells_of};
use schemas::{Beacon, Dc, KeyId, StoreName};
use tokio::{
    sync::mpsc,
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use writer::{
    WriteError,
    peer::{
        BucketAsked, HttpPeer, Peer, Silence,
        comparing::{CELLS_PER_ANSWER, CellSaid, CellsAnswer, HashesAnswer, Op},
    },
};

use self::judge::{Held, differs};
pub(crate) use self::watch::{AgreeMetrics, watch};
use crate::store::StoreNode;

/// How long after a look the next one comes: a mirror needs about that.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How soon a node that has not come to a beacon is asked again.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// How many keys an operator is told.
const TOLD_MAX: usize = 1_000;

/// How much a comparison may cost.
#[derive(Clone, Copy, Debug)]
struct Effort {
    /// How often sums are compared before cells are read.
    looks: usize,
    /// Of how many buckets cells are read.
    buckets_max: usize,
    /// How long a beacon may take to be applied everywhere.
    patience: Duration,
}

impl Effort {
    /// An operator waits for it.
    const FULL: Self = Self { looks: 3, buckets_max: BUCKETS, patience: Duration::from_secs(30) };

    /// Nobody waits for it, and nobody is to notice it.
    const SLIGHT: Self = Self { looks: 5, buckets_max: 32, patience: Duration::from_secs(10) };
}

/// A store here, and another data centre.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    store: Arc<StoreNode>,
    peer: Arc<HttpPeer>,
    /// All other data centres, that one among them.
    peers: Arc<[Arc<HttpPeer>]>,
}

/// What came of a comparison.
#[derive(Clone, Debug, Default)]
struct Outcome {
    cut: Hour,
    cells_here: u64,
    cells_there: u64,
    buckets_looked_at: usize,
    /// In which keys differ.
    buckets: BTreeSet<usize>,
    /// Keys that differ.
    differing: BTreeMap<KeyId, Held>,
}

/// Why nobody can say whether they agree.
#[derive(Clone, Debug, thiserror::Error)]
enum Untold {
    #[error("{0} {1}")]
    Silent(Dc, Silence),
    #[error("{0} still counts its cells")]
    NotCounted(Dc),
    #[error("the hour changed again and again")]
    Restless,
    #[error("{0}")]
    View(#[from] ViewError),
    #[error("{0}")]
    Write(#[from] WriteError),
    #[error("{0} {1}: what differs may be on its way")]
    Lag(Dc, Arc<str>),
    #[error("reading the view panicked")]
    Panic,
}

/// Compares what operators ask for, until `stop`.
pub(crate) async fn answer(
    mut orders: mpsc::Receiver<CompareOrder>,
    pairs: Vec<Pair>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    while let Some(Some(order)) = stop.run_until_cancelled(orders.recv()).await {
        let CompareOrder { store, with, answer } = order;
        let pair = pairs.iter().find(|pair| *pair.name() == store && *pair.peer.dc() == with);
        let compared = async {
            let no_such = || NotCompared::NoSuchDc(format!("this node knows no data centre {with}").into());
            let pair = pair.ok_or_else(no_such)?;
            let outcome = pair.compare(Effort::FULL, &BTreeSet::new(), 0).await;
            outcome
                .map(|outcome| pair.describe(&outcome))
                .map_err(|untold| NotCompared::Unavailable(untold.to_string().into()))
        };
        let Some(compared) = stop.run_until_cancelled(compared).await else { break };
        let _asker_is_gone = answer.send(compared);
    }
    Ok(())
}

/// Every store with every other data centre.
pub(crate) fn pairs(stores: &[Arc<StoreNode>], peers: &[Arc<HttpPeer>]) -> Vec<Pair> {
    let peers: Arc<[_]> = peers.into();
    let pair = |(store, peer): (&Arc<StoreNode>, &Arc<HttpPeer>)| Pair {
        store: Arc::clone(store),
        peer: Arc::clone(peer),
        peers: Arc::clone(&peers),
    };
    let with_all = |store| peers.iter().map(move |peer| (store, peer));
    stores.iter().flat_map(with_all).map(pair).collect()
}

impl Pair {
    fn name(&self) -> &StoreName {
        &self.reads().own.store
    }

    fn reads(&self) -> &Reads {
        &self.store.reads
    }

    /// Where there are more differing buckets than may be looked at, `first` are, then those from the `turn`th on.
    async fn compare(&self, effort: Effort, first: &BTreeSet<usize>, turn: usize) -> Result<Outcome, Untold> {
        let (here, there) = self.sums().await?;
        let mut suspicious = differing(&here, &there);
        for _ in 1..effort.looks {
            if suspicious.is_empty() {
                break;
            }
            sleep(LOOK_AGAIN_AFTER).await;
            let (here, there) = self.sums().await?;
            suspicious.retain(|&bucket| here.buckets[bucket] != there.buckets[bucket]);
        }
        let turn = turn.checked_rem(suspicious.len()).unwrap_or_default();
        suspicious.rotate_left(turn);
        suspicious.sort_by_key(|bucket| !first.contains(bucket));
        suspicious.truncate(effort.buckets_max);
        let mut outcome = Outcome {
            cut: here.cut,
            cells_here: here.cells,
            cells_there: there.cells,
            buckets_looked_at: suspicious.len(),
            buckets: BTreeSet::new(),
            differing: BTreeMap::new(),
        };

        let mut candidates = BTreeMap::new();
        for bucket in suspicious {
            let held = self.bucket(bucket, here.cut, None).await?.held;
            let unequal: BTreeMap<_, _> = held.into_iter().filter(|(_, held)| !held.is_equal()).collect();
            if !unequal.is_empty() {
                candidates.insert(bucket, unequal);
            }
        }
        if candidates.is_empty() {
            return Ok(outcome);
        }
        let until = Instant::now() + effort.patience;
        let beacon = self.append_beacons().await?;
        self.wait_here(beacon, until).await?;
        for (bucket, candidates) in candidates {
            // All of them: what is newer now may be kept for less long.
            let Bucket { held, cut } = self.bucket_after(bucket, beacon, until).await?;
            for (key, before) in candidates {
                let after = held.get(&key).copied().unwrap_or_default();
                if differs(&before, &after, cut) {
                    outcome.buckets.insert(bucket);
                    outcome.differing.insert(key, after);
                }
            }
        }
        Ok(outcome)
    }

    /// Of both, from the first hour on that neither has come to.
    async fn sums(&self) -> Result<(Summed, Summed), Untold> {
        let mut cut = self.first_hour();
        // The other may be an hour ahead, and this one come to the next meanwhile.
        for _ in 0..4 {
            let said = self.peer.hashes(self.name(), cut.0).await;
            let HashesAnswer { cut: cut_there, cells, sums: buckets, dc, .. } =
                said.map_err(|silence| self.silent(silence))?;
            if buckets.len() != BUCKETS || dc != *self.peer.dc() {
                return Err(self.silent(Silence::Strange("sums of something else".into())));
            }
            let here = self.reads().sums.at(Hour(cut_there), self.reads().clock.gc_now());
            let here = here.ok_or_else(|| Untold::NotCounted(self.reads().own.origin.clone()))?;
            cut = here.cut;
            if cut == Hour(cut_there) {
                return Ok((here, Summed { cut, cells, buckets }));
            }
        }
        Err(Untold::Restless)
    }

    fn first_hour(&self) -> Hour {
        self.reads().sums.first_hour(self.reads().clock.gc_now())
    }

    /// Has every data centre append one to its own log. All of them: what one of these two has and the other has not may come
    /// from a third.
    async fn append_beacons(&self) -> Result<Beacon, Untold> {
        let beacon = Beacon(rand::random());
        let (own, others) = tokio::join!(
            self.store.writer.append_beacon(beacon),
            join_all(self.peers.iter().map(|peer| peer.append_beacon(self.name(), beacon)))
        );
        own?;
        for (peer, appended) in self.peers.iter().zip(others) {
            appended.map_err(|silence| Untold::Silent(peer.dc().clone(), silence))?;
        }
        Ok(beacon)
    }

    async fn wait_here(&self, beacon: Beacon, until: Instant) -> Result<(), Untold> {
        let Reads { beacons, own, .. } = self.reads();
        let left = until.saturating_duration_since(Instant::now());
        if timeout(left, beacons.wait_for(beacon)).await.is_err() {
            let lag = api::has_not_applied(&beacons.missing(beacon));
            return Err(Untold::Lag(own.origin.clone(), lag.into()));
        }
        Ok(())
    }

    /// A bucket once the other data centre has come to the beacon, too.
    async fn bucket_after(&self, bucket: usize, beacon: Beacon, until: Instant) -> Result<Bucket, Untold> {
        loop {
            match self.bucket(bucket, Hour::default(), Some(beacon)).await {
                Err(Untold::Silent(dc, Silence::NotYet(why))) if until <= Instant::now() => {
                    return Err(Untold::Lag(dc, why));
                }
                Err(Untold::Silent(_, Silence::NotYet(_))) => sleep(ASK_AGAIN_AFTER).await,
                other => return other,
            }
        }
    }

    /// What both hold in a bucket that must be kept until `cut` or longer.
    async fn bucket(&self, bucket: usize, cut: Hour, beacon: Option<Beacon>) -> Result<Bucket, Untold> {
        let mut held = BTreeMap::<KeyId, Held>::new();
        let (mut kept, mut after) = (self.first_hour(), None);
        loop {
            let asked = BucketAsked { bucket, cut: cut.0, after, beacon };
            let said = self.peer.cells(self.name(), asked).await;
            let CellsAnswer { cells, next, cut, .. } = said.map_err(|silence| self.silent(silence))?;
            kept = kept.max(Hour(cut));
            for cell in cells {
                let cell = understand(&cell).ok_or_else(|| self.strange("a cell"))?;
                held.entry(cell.key).or_default().there = Some(cell);
            }
            let Some(next) = next else { break };
            // Or it could be asked for ever.
            let next = next.parse().ok().filter(|next| after.is_none_or(|after| after < *next));
            after = Some(next.ok_or_else(|| self.strange("a key"))?);
        }
        let mut after = None;
        loop {
            let view = self.reads().serving.view();
            let read = move || cells_of(view.view(), bucket, cut, after, CELLS_PER_ANSWER);
            let Essences { cells, last } = spawn_blocking(read).await.map_err(|_| Untold::Panic)??;
            cells.into_iter().for_each(|cell| held.entry(cell.key).or_default().here = Some(cell));
            if last.is_none() {
                break;
            }
            after = last;
        }
        Ok(Bucket { held, cut: kept.max(self.first_hour()) })
    }

    fn silent(&self, silence: Silence) -> Untold {
        Untold::Silent(self.peer.dc().clone(), silence)
    }

    fn strange(&self, what: &str) -> Untold {
        self.silent(Silence::Strange(format!("{what} that cannot be read").into()))
    }

    fn describe(&self, outcome: &Outcome) -> Compared {
        let (here, there) = (self.reads().own.origin.to_string(), self.peer.dc().to_string());
        let say = |cell: Option<Essence>| cell.as_ref().map(api::said);
        let key = |(key, held): (&KeyId, &Held)| DifferingKey {
            key_id: key.to_string(),
            holds: [(here.clone(), say(held.here)), (there.clone(), say(held.there))].into(),
        };
        Compared {
            store: self.name().to_string(),
            equal: outcome.differing.is_empty(),
            differing: outcome.differing.len(),
            cut: outcome.cut.0,
            cells: [(here.clone(), outcome.cells_here), (there.clone(), outcome.cells_there)].into(),
            buckets_looked_at: outcome.buckets_looked_at,
            keys: outcome.differing.iter().take(TOLD_MAX).map(key).collect(),
        }
    }
}

/// What two data centres hold in a bucket.
struct Bucket {
    held: BTreeMap<KeyId, Held>,
    /// What need not be kept until this hour may have been dropped by either.
    cut: Hour,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {}", self.reads().own.origin, self.peer.dc())
    }
}

fn differing(here: &Summed, there: &Summed) -> Vec<usize> {
    (0..BUCKETS).filter(|&bucket| here.buckets[bucket] != there.buckets[bucket]).collect()
}

fn understand(said: &CellSaid) -> Option<Essence> {
    let CellSaid { key_id: key, op, version, expires_at, retain_until } = *said;
    let fits = (op == Op::Set) == expires_at.is_some();
    fits.then_some(Essence { key, version, retain_until, expires_at })
}
