//! A bare loop that reads a log from its start and puts what it says into an empty view: what no rebuild can beat. No
//! MAC is checked, no version compared, nothing counted.

use std::{collections::BTreeMap, fs, io::Write, path::Path, sync::Arc, time::Instant};

use anyhow::{Context, ensure};
use eventlog::{
    EventLog, Frontier, Incarnation, LogClock, SystemClock,
    embedded::{EmbeddedLog, EmbeddedOptions},
};
use futures::StreamExt;
use materializer::{
    Cell, View, ViewWrite,
    sessions::{SessionView, ViewMemory, ViewOptions},
};
use schemas::{Message, PartitionCount, Topic};
use serde_json::json;

use crate::arguments::Load;

/// What a node has by default (`memory_mb: 320`, four partitions).
const MEMORY_BYTES: usize = 320 << 20;
const PARTITIONS: u32 = 4;

/// Reads the one log in `dir`, the data directory of a node that does not run. The view goes beside it, and away.
pub(super) fn run(dir: &Path, load: &Load, out: &mut impl Write) -> anyhow::Result<()> {
    let topic = only_topic(&dir.join("log"))?;
    let log_dir = dir.join("log").join(topic.to_string());
    let options = EmbeddedOptions {
        topic: topic.clone(),
        partitions: PartitionCount::new(PARTITIONS).context("a number of partitions")?,
        incarnation_if_new: Incarnation("none".into()),
        clock: Arc::new(SystemClock::start()),
        has_room: Box::new(|| true),
    };
    let log = EmbeddedLog::open(&log_dir, options)?;
    let scratch =
        tempfile::tempdir_in(dir).with_context(|| format!("create a folder in {}", dir.display()))?;
    let memory = ViewMemory::of(MEMORY_BYTES);
    let clock = Arc::new(LogClock::new(Arc::new(SystemClock::start())));
    let options = ViewOptions { memory: &memory, clock, logs: vec![(topic.clone(), log.incarnation())] };
    let view = SessionView::open(&scratch.path().join("view"), options)?;

    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let began = Instant::now();
    let records = runtime.block_on(put_all(&log, &topic, &view))?;
    let seconds = began.elapsed().as_secs_f64();
    let said = if load.json {
        writeln!(out, "{}", json!({ "floor": "replay", "records": records, "seconds": seconds }))
    } else {
        writeln!(out, "{records} records read and put in {seconds:.2} s")
    };
    said.context("write to standard output")
}

async fn put_all(log: &Arc<EmbeddedLog>, topic: &Topic, view: &SessionView) -> anyhow::Result<u64> {
    let tail = log.tail().await?;
    let (mut reached, mut records) = (Frontier::empty(), 0);
    let mut batches = Arc::clone(log).read(Frontier::empty());
    while !reached.is_at_least(&tail) {
        let batch = batches.next().await.context("the log ended early")??;
        records += batch.entries.len() as u64;
        let mut cells = BTreeMap::new();
        for entry in batch.entries {
            if let Ok(Message::Event { event, sequence: _ }) = entry.record.decode() {
                cells.insert(event.key, Cell::of(event));
            }
        }
        let positions = vec![(topic.clone(), batch.partition, batch.up_to)];
        view.write(&ViewWrite { cells, positions, ..ViewWrite::default() })?;
        reached.advance(batch.partition, batch.up_to);
    }
    Ok(records)
}

fn only_topic(logs: &Path) -> anyhow::Result<Topic> {
    let entries = fs::read_dir(logs).with_context(|| format!("list {}", logs.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let found: Vec<_> =
        names.filter_map(|name| name.split_once('.').map(|(o, s)| (o.to_owned(), s.to_owned()))).collect();
    ensure!(found.len() == 1, "{} holds {} logs, and one can be read", logs.display(), found.len());
    let (origin, store) = &found[0];
    Ok(Topic { origin: origin.parse()?, store: store.parse()? })
}
