//! How fast the embedded log appends, beside the floor that no log on this disk can beat.
//!
//! Interleaved rounds in one run:
//!
//! - **floor**: a bare loop that appends 2 KB to a file and calls `fdatasync`, one after the other;
//! - **one at a time**: appends of a 2 KB record, each after the one before is durable;
//! - **64 at a time**: the same with 64 in flight, which share syncs.

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use eventlog::{
    EventLog, Incarnation, SystemClock,
    embedded::{EmbeddedLog, EmbeddedOptions},
};
use futures::future::try_join_all;
use schemas::{Headers, Partition, PartitionCount, Record, Topic};

const ROUNDS: usize = 5;
const APPENDS: u32 = 500;
const IN_FLIGHT: u32 = 64;
const VALUE_BYTES: usize = 2048;
const PARTITIONS: u32 = 4;

/// Writes the median of the rounds, with the lowest and the highest. What lies in `dir` is removed again.
pub(super) fn run(dir: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let dir = tempfile::tempdir_in(dir).with_context(|| format!("create a folder in {}", dir.display()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let log = open_log(&dir.path().join("log"))?;

    let (mut floor, mut single, mut many) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        floor.push(bare_loop(&dir.path().join(format!("floor-{round}")))?);
        single.push(runtime.block_on(one_at_a_time(&log))?);
        many.push(runtime.block_on(many_at_a_time(&log))?);
    }
    writeln!(
        out,
        "per append of {VALUE_BYTES} bytes, {APPENDS} appends a round, {ROUNDS} rounds: median (lowest - highest)"
    )?;
    for (name, rounds) in
        [("floor: write + fdatasync", floor), ("one at a time", single), ("64 at a time", many)]
    {
        writeln!(out, "{name:<26} {}", summary(rounds))?;
    }
    Ok(())
}

fn open_log(dir: &Path) -> anyhow::Result<Arc<EmbeddedLog>> {
    let options = EmbeddedOptions {
        topic: Topic { origin: "bench".parse()?, store: "sessions".parse()? },
        partitions: PartitionCount::new(PARTITIONS).context("a number of partitions")?,
        incarnation_if_new: Incarnation("bench".into()),
        clock: Arc::new(SystemClock::start()),
        has_room: Box::new(|| true),
    };
    Ok(EmbeddedLog::open(dir, options)?)
}

fn record() -> Record {
    let value = Bytes::from(vec![7; VALUE_BYTES]);
    Record {
        key: Bytes::from_static(b"MDEyMzQ1Njc4OWFiY2RlZg"),
        headers: Headers::default(),
        value: Some(value),
    }
}

fn bare_loop(file: &Path) -> anyhow::Result<Duration> {
    let mut file = File::create(file)?;
    let began = Instant::now();
    for _ in 0..APPENDS {
        file.write_all(&[7; VALUE_BYTES])?;
        file.sync_data()?;
    }
    Ok(began.elapsed() / APPENDS)
}

async fn one_at_a_time(log: &Arc<EmbeddedLog>) -> anyhow::Result<Duration> {
    let began = Instant::now();
    for n in 0..APPENDS {
        append(log, n).await?;
    }
    Ok(began.elapsed() / APPENDS)
}

async fn many_at_a_time(log: &Arc<EmbeddedLog>) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let client = |client: u32| async move {
        for n in 0..APPENDS / IN_FLIGHT {
            append(log, client + n).await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    try_join_all((0..IN_FLIGHT).map(client)).await?;
    Ok(began.elapsed() / (APPENDS / IN_FLIGHT * IN_FLIGHT))
}

async fn append(log: &Arc<EmbeddedLog>, n: u32) -> anyhow::Result<()> {
    let commit =
        log.enqueue(Partition(n % PARTITIONS), record()).map_err(|error| anyhow!(error.to_string()))?;
    commit.await?;
    Ok(())
}

fn summary(mut rounds: Vec<Duration>) -> String {
    rounds.sort_unstable();
    let us = |n: usize| rounds[n].as_micros();
    format!("{:>6} us  ({} - {})", us(rounds.len() / 2), us(0), us(rounds.len() - 1))
}
