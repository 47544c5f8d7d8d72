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
use materializer::{Cell, State as CellState, View, ViewError};
use schemas::{Timestamp, Until};
use serde::Serialize;
use tokio::{sync::Mutex, task::spawn_blocking};

use super::problem;
use crate::{App, Backend, RingSecret, sealed_with};

/// How old a count may be that is shown: so often is a view read at most, whoever looks.
const COUNT_OLD_MAX: Duration = Duration::from_secs(60);

/// How many cells are in memory at a time. The largest has 16 MiB.
const CELLS_AT_ONCE: usize = 8;

/// How fast a view is read for it: requests need the disk, too.
const BYTES_PER_S: u64 = 128 << 20;

/// The last count, and who counts now: one at a time.
#[derive(Clone, Debug, Default)]
pub struct Counting(Arc<Mutex<Option<Counted>>>);

/// When a count was begun, and what came of it.
type Counted = (Instant, Arc<Counts>);

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
        Ok((counted, counts)) => {
            let secrets =
                show(&app.ring.secrets(), app.ring.secrets().first().map(|first| first.id), &counts);
            Json(Secrets { secrets, counted_s_ago: counted.elapsed().as_secs() }).into_response()
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
    let ring = app.ring.secrets();
    let Some(id) = id.parse().ok().filter(|id| ring.iter().any(|secret| secret.id == *id)) else {
        let known: Vec<_> = ring.iter().map(|secret| secret.id.to_string()).collect();
        let detail = format!("The ring has the secrets {}", known.join(", "));
        return problem(StatusCode::NOT_FOUND, "No such secret", &detail);
    };
    // IMPORTANT: before the count. A write that was sealed with it and is on its way would come after it.
    if app.ring.is_sealing(id) {
        let detail =
            "It seals, or a write that it sealed is on its way: put another one first, then send SIGHUP";
        return needed(detail.to_owned(), None);
    }
    let counts = match app.counting.not_older_than(Duration::ZERO, &app).await {
        Ok((_, counts)) => counts,
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
    if !app.ring.retire(id) {
        return needed("It seals again".to_owned(), None);
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

fn show(ring: &[RingSecret], seals: Option<u32>, counts: &Counts) -> Vec<Shown> {
    let shown = |id: u32, state| {
        let count = counts.get(&id);
        let live = count.map_or(0, |count| count.live);
        Shown { id, state, live, last_expires: count.map(|count| seconds(count.last_expires)) }
    };
    let known =
        ring.iter().map(|secret| shown(secret.id, if Some(secret.id) == seals { "seals" } else { "opens" }));
    let missing = counts.keys().filter(|id| !ring.iter().any(|secret| secret.id == **id));
    known.chain(missing.map(|id| shown(*id, "missing"))).collect()
}

const fn seconds(end: Until) -> Option<u64> {
    match end {
        Until::At(end) => Some(end.as_seconds()),
        Until::Never => None,
    }
}

impl Counting {
    /// A count, and when it was begun.
    async fn not_older_than(&self, age: Duration, app: &App) -> Result<Counted, Response> {
        // Who comes meanwhile waits for that count, and takes it.
        let mut last = self.0.lock().await;
        if let Some((counted, counts)) = last.as_ref().filter(|(counted, _)| counted.elapsed() < age) {
            return Ok((*counted, Arc::clone(counts)));
        }
        let stores: Option<Vec<Backend>> = app.stores.iter().map(|store| store.backend().cloned()).collect();
        let Some(stores) = stores.filter(|_| app.readiness.is_ready()) else {
            let why = app.readiness.why_not();
            return Err(problem(StatusCode::SERVICE_UNAVAILABLE, "Not ready", &why));
        };
        let began = Instant::now();
        let counted = spawn_blocking(move || {
            stores.iter().try_fold(Counts::new(), |mut counts, store| {
                let now = store.reads.clock.read_now();
                count(store.reads.serving.view().view(), now, &mut counts)?;
                Ok::<_, ViewError>(counts)
            })
        });
        match counted.await {
            Ok(Ok(counts)) => {
                let counts = Arc::new(counts);
                *last = Some((began, Arc::clone(&counts)));
                Ok((began, counts))
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

/// Adds the sessions of a view that can be read at `now`.
fn count(view: &dyn View, now: Timestamp, counts: &mut Counts) -> Result<(), ViewError> {
    let mut after = None;
    loop {
        let cells = view.scan(after, CELLS_AT_ONCE)?;
        let Some((last, _)) = cells.last() else { return Ok(()) };
        after = Some(*last);
        let bytes: u64 = cells.iter().map(|(_, cell)| add(cell, now, counts)).sum();
        // A share of a second for each share of the bytes.
        sleep(Duration::from_nanos(bytes * 1_000_000_000 / BYTES_PER_S));
    }
}

/// Adds a cell, and says how large it is.
fn add(cell: &Cell, now: Timestamp, counts: &mut Counts) -> u64 {
    let CellState::Live { expires_at, sealed } = &cell.state else { return 0 };
    if cell.visible(now).is_some()
        && let Some(id) = sealed_with(&cell.headers)
    {
        let count = counts.entry(id).or_insert(Count { live: 0, last_expires: *expires_at });
        count.live += 1;
        count.last_expires = count.last_expires.max(*expires_at);
    }
    sealed.0.len() as u64
}
