//! The ring of secrets as operators see it: which of them live sessions still need, and until when.
//!
//! The view says so, session by session. Nobody keeps count meanwhile: that would have to stand in the view, for a question
//! that is asked a few times a year.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures::future::try_join_all;
use materializer::{Barrier, Cell, State as CellState, View, ViewError};
use schemas::{Timestamp, Until};
use serde::Serialize;
use tokio::{sync::Mutex, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::problem;
use crate::{App, Backend, sealed_with};

/// How long ago a count that is shown may have ended: between two, views are left alone for so long, whoever looks.
const COUNT_OLD_MAX: Duration = Duration::from_secs(60);

/// How many cells are in memory at a time. The largest has 16 MiB.
const CELLS_AT_ONCE: usize = 8;

/// How fast a view is read for it: requests need the disk, too.
const BYTES_PER_S: u64 = 128 << 20;

/// What a cell takes beside its contents, about.
const CELL_BYTES: u64 = 128;

/// How long the views may take to get to where the logs end.
const APPLY_PATIENCE: Duration = Duration::from_secs(10);

/// The last count, and who counts now: one at a time.
#[derive(Clone, Debug, Default)]
pub struct Counting(Arc<Mutex<Option<Counted>>>);

/// A count, and when it was made.
#[derive(Clone, Debug)]
struct Counted {
    begun: Instant,
    ended: Instant,
    counts: Arc<Counts>,
}

/// Live sessions by the secret that sealed them.
type Counts = BTreeMap<u32, Count>;

/// The live sessions under one secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    live: u64,
    last_expires: Until,
}

/// A secret, as it is shown.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Shown {
    id: u32,
    /// `seals`, `opens`, or `missing`: there are sessions under it, and the ring lacks it.
    state: &'static str,
    live: u64,
    /// When the last of these sessions ends, in Unix seconds; null if one never does, absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_expires: Option<Option<u64>>,
}

#[derive(Serialize)]
struct Secrets {
    secrets: Vec<Shown>,
    /// How long ago that was counted.
    counted_s_ago: u64,
}

pub(super) async fn list(State(app): State<App>) -> Response {
    match app.counting.not_older_than(COUNT_OLD_MAX, &app).await {
        Ok(Counted { begun, counts, .. }) => {
            let secrets = show(&app.ring.now().ids().collect::<Vec<_>>(), &counts);
            Json(Secrets { secrets, counted_s_ago: begun.elapsed().as_secs() }).into_response()
        }
        Err(refusal) => refusal,
    }
}

/// What operators are told of a secret that is still needed.
#[derive(Serialize)]
struct Needed {
    r#type: &'static str,
    title: &'static str,
    detail: String,
    live: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_expires: Option<Option<u64>>,
}

/// Opens nothing any more with a secret that no live session needs.
pub(super) async fn retire(State(app): State<App>, Path(id): Path<String>) -> Response {
    // IMPORTANT: before everything. A ring that was replaced meanwhile may have sealed with it again.
    let ring = app.ring.now();
    let Some(id) = id.parse().ok().filter(|id| ring.ids().any(|known| known == *id)) else {
        let known: Vec<_> = ring.ids().map(|id| id.to_string()).collect();
        let detail = format!("The ring has the secrets {}", known.join(", "));
        return problem(StatusCode::NOT_FOUND, "No such secret", &detail);
    };
    // IMPORTANT: before the fence, and that before the count. What was sealed with it then stands in the logs, or never will.
    if app.ring.is_sealing(id) {
        let detail =
            "It seals, or a write that it sealed is on its way: put another one first, then send SIGHUP";
        return needed(detail.to_owned(), None);
    }
    if let Err(why) = apply_everything(&app).await {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "Cannot be counted", &why);
    }
    let counts = match app.counting.not_older_than(Duration::ZERO, &app).await {
        Ok(Counted { counts, .. }) => counts,
        Err(refusal) => return refusal,
    };
    if let Some(count) = counts.get(&id) {
        let detail = match count.last_expires {
            Until::At(end) => {
                format!(
                    "{} live sessions need it; the last of them ends at {} s",
                    count.live,
                    end.as_seconds()
                )
            }
            Until::Never => format!("{} live sessions need it, and some of them never end", count.live),
        };
        return needed(detail, Some(*count));
    }
    if let Err(error) = app.ring.replace(&ring, &ring.without(id)) {
        return needed(format!("{error}: try again"), None);
    }
    tracing::warn!("The secret {id} is retired: no live session needs it. Take it out of the configuration");
    StatusCode::NO_CONTENT.into_response()
}

fn needed(detail: String, count: Option<Count>) -> Response {
    let needed = Needed {
        r#type: "about:blank",
        title: "Still in use",
        detail,
        live: count.map_or(0, |count| count.live),
        last_expires: count.map(|count| seconds(count.last_expires)),
    };
    (StatusCode::CONFLICT, Json(needed)).into_response()
}

/// Waits until the views hold all that stands in the logs here.
async fn apply_everything(app: &App) -> Result<(), String> {
    let stores = app.stores.iter().map(|store| async move {
        let name = &store.name;
        let Some(Backend { reads, log, copies, .. }) = store.backend() else {
            return Err(format!("the store {name} is not open"));
        };
        let logs: Vec<_> = std::iter::once(log).chain(copies).cloned().collect();
        let barrier = Barrier::new(logs, Arc::clone(&reads.fence));
        let passes = reads.partitions.all().map(|partition| barrier.pass(partition, APPLY_PATIENCE));
        let passed = try_join_all(passes).await;
        passed.map(drop).map_err(|error| format!("the view of {name} is not known to be complete: {error}"))
    });
    try_join_all(stores).await.map(drop)
}

/// The first of `ring` seals.
fn show(ring: &[u32], counts: &Counts) -> Vec<Shown> {
    let shown = |id: u32, state| {
        let count = counts.get(&id);
        let live = count.map_or(0, |count| count.live);
        Shown { id, state, live, last_expires: count.map(|count| seconds(count.last_expires)) }
    };
    let known = ring.iter().enumerate().map(|(n, id)| shown(*id, if n == 0 { "seals" } else { "opens" }));
    let missing = counts.keys().filter(|id| !ring.contains(id));
    known.chain(missing.map(|id| shown(*id, "missing"))).collect()
}

const fn seconds(end: Until) -> Option<u64> {
    match end {
        Until::At(end) => Some(end.as_seconds()),
        Until::Never => None,
    }
}

impl Counting {
    /// A count that ended no longer ago than `age`; another one is made for it if need be. One at a time: who comes meanwhile
    /// waits for it.
    async fn not_older_than(&self, age: Duration, app: &App) -> Result<Counted, Response> {
        let mut last = self.0.lock().await;
        if let Some(counted) = last.as_ref().filter(|counted| counted.ended.elapsed() < age) {
            return Ok(counted.clone());
        }
        let stores: Option<Vec<Backend>> = app.stores.iter().map(|store| store.backend().cloned()).collect();
        let Some(stores) = stores.filter(|_| app.readiness.is_ready()) else {
            let why = app.readiness.why_not();
            return Err(problem(StatusCode::SERVICE_UNAVAILABLE, "Not ready", &why));
        };
        let (begun, wanted) = (Instant::now(), CancellationToken::new());
        let _for_this_answer = wanted.clone().drop_guard();
        let counted = spawn_blocking(move || {
            stores.iter().try_fold(Counts::new(), |mut counts, store| {
                let now = store.reads.clock.read_now();
                count(store.reads.serving.view().view(), now, &wanted, &mut counts)?;
                Ok::<_, ViewError>(counts)
            })
        });
        match counted.await {
            Ok(Ok(counts)) => {
                let counted = Counted { begun, ended: Instant::now(), counts: Arc::new(counts) };
                *last = Some(counted.clone());
                Ok(counted)
            }
            Ok(Err(error)) => {
                tracing::error!("Cannot count what secrets are needed for: {error}");
                let detail = "The view cannot be read; the log says why";
                Err(problem(StatusCode::SERVICE_UNAVAILABLE, "Cannot be counted", detail))
            }
            Err(panic) => {
                tracing::error!("Counting what secrets are needed for: {panic}");
                Err(problem(StatusCode::INTERNAL_SERVER_ERROR, "Failed", "it failed inside"))
            }
        }
    }
}

/// Adds the sessions of a view that can be read at `now`, for as long as somebody wants to know.
fn count(
    view: &dyn View,
    now: Timestamp,
    wanted: &CancellationToken,
    counts: &mut Counts,
) -> Result<(), ViewError> {
    let mut after = None;
    while !wanted.is_cancelled() {
        let cells = view.scan(after, CELLS_AT_ONCE)?;
        let Some((last, _)) = cells.last() else { break };
        after = Some(*last);
        let bytes: u64 = cells.iter().map(|(_, cell)| add(cell, now, counts)).sum();
        // A share of a second for each share of the bytes.
        sleep(Duration::from_nanos(bytes * 1_000_000_000 / BYTES_PER_S));
    }
    Ok(())
}

/// Adds a cell, and says how large it is, about.
fn add(cell: &Cell, now: Timestamp, counts: &mut Counts) -> u64 {
    let CellState::Live { expires_at, sealed } = &cell.state else { return CELL_BYTES };
    if cell.visible(now).is_some()
        && let Some(id) = sealed_with(&cell.headers)
    {
        let count = counts.entry(id).or_insert(Count { live: 0, last_expires: *expires_at });
        count.live += 1;
        count.last_expires = count.last_expires.max(*expires_at);
    }
    CELL_BYTES + sealed.0.len() as u64
}
