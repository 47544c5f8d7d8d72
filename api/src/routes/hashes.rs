//! What a view holds, in sums and cell by cell, for whoever compares data centres: other data centres, and operators.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use materializer::{BUCKETS, Essence, Essences, Hour, Reads, cells_of};
use schemas::{Beacon, KeyId, StoreName, Topic};
use tokio::task::spawn_blocking;
use writer::peer::comparing::{CELLS_PER_ANSWER, CellSaid, CellsAnswer, HashesAnswer, Op};

use crate::{App, Backend, brief_problem::brief_problem};

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Asked {
    cut: Hour,
    bucket: Option<usize>,
    after: Option<KeyId>,
    beacon: Option<Beacon>,
}

impl Asked {
    /// `None` when something else is asked for, or what cannot be read.
    fn read(query: &str) -> Option<Self> {
        let mut asked = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=')? {
                ("cut", hour) => asked.cut = Hour(hour.parse().ok()?),
                ("bucket", bucket) => {
                    asked.bucket = Some(bucket.parse().ok().filter(|&bucket| bucket < BUCKETS)?);
                }
                ("after", key) => asked.after = Some(key.parse().ok()?),
                ("beacon", name) => asked.beacon = Some(name.parse().ok()?),
                _ => return None,
            }
        }
        Some(asked)
    }
}

/// Answers `?cut=HOUR` with sums, and `?cut=HOUR&bucket=N&after=KEY&beacon=NAME` with cells.
pub(crate) async fn say(app: &App, store: &str, query: &str) -> Response {
    let Some(asked) = Asked::read(query) else {
        let detail = format!(
            "?cut= takes an hour since 1970, bucket= a number below {BUCKETS}, after= a key id, beacon= 16 hex digits"
        );
        return problem(StatusCode::BAD_REQUEST, "Bad request", &detail);
    };
    match open(app, store) {
        Ok((name, Backend { reads, .. })) => match asked.bucket {
            None => sums(name, reads, asked.cut),
            Some(bucket) => cells(name, reads, bucket, asked).await,
        },
        Err(closed) => closed.into_response(),
    }
}

/// Answers `?cut=HOUR` with sums, which name nobody, and nothing else.
pub(crate) fn say_sums(app: &App, store: &str, query: &str) -> Response {
    let Some(Asked { cut, bucket: None, after: None, beacon: None }) = Asked::read(query) else {
        return problem(StatusCode::BAD_REQUEST, "Bad request", "?cut= takes an hour since 1970");
    };
    match open(app, store) {
        Ok((name, Backend { reads, .. })) => sums(name, reads, cut),
        Err(closed) => closed.into_response(),
    }
}

/// Why a store cannot be asked.
pub(crate) enum Closed {
    Unknown,
    Starting(String),
}

/// A store that may be asked.
pub(crate) fn open<'a>(app: &'a App, store: &str) -> Result<(&'a StoreName, &'a Backend), Closed> {
    let store = store.parse().ok().and_then(|name| app.stores.get(&name)).ok_or(Closed::Unknown)?;
    let backend = store
        .backend()
        .filter(|_| app.readiness.serves())
        .ok_or_else(|| Closed::Starting(app.readiness.why_not()))?;
    Ok((&store.name, backend))
}

impl IntoResponse for Closed {
    fn into_response(self) -> Response {
        match self {
            Self::Unknown => {
                problem(StatusCode::NOT_FOUND, "No such store", "there is no store of this name")
            }
            Self::Starting(why) => not_yet(&format!("is not ready: {why}")),
        }
    }
}

fn sums(store: &StoreName, reads: &Reads, cut: Hour) -> Response {
    // IMPORTANT: before the sums, which then hold all of it.
    let positions: BTreeMap<_, BTreeMap<_, _>> = reads
        .fence
        .applied()
        .iter()
        .map(|(topic, applied)| {
            (topic.to_string(), applied.iter().map(|(partition, up_to)| (partition.0, up_to.0)).collect())
        })
        .collect();
    let gc_now = reads.clock.gc_now();
    let Some(summed) = reads.sums.at(cut, gc_now) else {
        return not_yet(&format!("still counts the cells of {store}"));
    };
    let answer = HashesAnswer {
        dc: reads.own.origin.clone(),
        store: store.clone(),
        cut: summed.cut.0,
        gc_now: gc_now.as_millis(),
        cells: summed.cells,
        sums: summed.buckets,
        positions,
    };
    Json(answer).into_response()
}

async fn cells(store: &StoreName, reads: &Reads, bucket: usize, asked: Asked) -> Response {
    let Asked { cut, after, beacon, .. } = asked;
    if let Some(beacon) = beacon {
        let missing = reads.beacons.missing(beacon);
        if !missing.is_empty() {
            return not_yet(&has_not_applied(&missing));
        }
    }
    let first_hour = reads.sums.first_hour(reads.clock.gc_now());
    let view = reads.serving.view();
    let read = spawn_blocking(move || cells_of(view.view(), bucket, cut, after, CELLS_PER_ANSWER)).await;
    let Essences { cells, last } = match read {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return failed(&error),
        Err(panic) => return failed(&panic),
    };
    let answer = CellsAnswer {
        dc: reads.own.origin.clone(),
        store: store.clone(),
        bucket,
        cut: cut.max(first_hour).0,
        cells: cells.iter().map(said).collect(),
        next: last.map(|key| key.to_string()),
    };
    Json(answer).into_response()
}

/// What another data centre wrote and this one has not applied: no difference yet.
pub fn has_not_applied(missing: &[Topic]) -> String {
    let missing: Vec<_> = missing.iter().map(Topic::to_string).collect();
    format!("has not applied all of {}", missing.join(", "))
}

/// What counts of a cell, as it is said.
pub fn said(cell: &Essence) -> CellSaid {
    let Essence { key, version, retain_until, expires_at } = *cell;
    let op = if expires_at.is_some() { Op::Set } else { Op::Delete };
    CellSaid { key_id: key, op, version, expires_at, retain_until }
}

/// Appends a beacon to the own log of a store.
pub(crate) async fn append_beacon(app: &App, store: &str, beacon: Beacon) -> Response {
    let backend = match open(app, store) {
        Ok((_, backend)) => backend,
        Err(closed) => return closed.into_response(),
    };
    if !app.disk_room.takes_deletes() {
        return not_yet("appends nothing: its disk is full");
    }
    // It goes on whether or not somebody still waits for the answer.
    let writer = Arc::clone(&backend.writer);
    match tokio::spawn(async move { writer.append_beacon(beacon).await }).await {
        Ok(Ok(())) => Json(serde_json::json!({ "dc": backend.reads.own.origin.to_string() })).into_response(),
        Ok(Err(error)) => not_yet(&format!("appended no beacon: {error}")),
        Err(panic) => failed(&panic),
    }
}

fn not_yet(detail: &str) -> Response {
    problem(StatusCode::SERVICE_UNAVAILABLE, "Not yet", detail)
}

fn failed(error: &dyn std::fmt::Display) -> Response {
    tracing::error!("Cannot say what the view holds: {error}");
    problem(StatusCode::INTERNAL_SERVER_ERROR, "Server error", "the view cannot be read")
}

fn problem(status: StatusCode, title: &str, detail: &str) -> Response {
    brief_problem(status, title, detail, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_asked_for_by_hour_and_cells_by_bucket() {
        assert_eq!(Asked::read(""), Some(Asked::default()));
        assert_eq!(Asked::read("cut=495000"), Some(Asked { cut: Hour(495_000), ..Asked::default() }));
        let key = KeyId::from_bytes([1; 16]);
        let all = format!("cut=1&bucket=4095&after={key}&beacon=000000000000000a");
        let asked = Asked { cut: Hour(1), bucket: Some(4095), after: Some(key), beacon: Some(Beacon(10)) };
        assert_eq!(Asked::read(&all), Some(asked));
        for query in ["cut", "cut=", "cut=-1", "bucket=4096", "after=short", "beacon=a", "more=1"] {
            assert_eq!(Asked::read(query), None, "{query}");
        }
    }
}
