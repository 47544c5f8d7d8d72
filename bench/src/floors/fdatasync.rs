//! A bare loop that appends to a growing file and syncs: the fastest that one durable write after the other can be.

use std::{
    fs::File,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde_json::json;

use crate::{arguments::Load, tally::Times};

/// For as long as the load would have been measured, with bodies of its largest size.
pub(super) fn run(dir: &Path, load: &Load, out: &mut impl Write) -> anyhow::Result<()> {
    let dir = tempfile::tempdir_in(dir).with_context(|| format!("create a folder in {}", dir.display()))?;
    let bytes = load.size.max();
    let mut file = File::create(dir.path().join("floor")).context("create a file")?;
    let mut times = Times::new();
    let began = Instant::now();
    while began.elapsed() < load.duration {
        times.record(append(&mut file, bytes).context("append and sync")?);
    }
    let rate = per_second(times.count(), began.elapsed());
    let at = |share| times.micros_at(share);
    let (p50, p90, p99, p999, max) = (at(0.5), at(0.9), at(0.99), at(0.999), at(1.0));
    let said = if load.json {
        let figures = json!({
            "floor": "fdatasync", "size": bytes, "count": times.count(), "rate": rate,
            "p50_us": p50, "p90_us": p90, "p99_us": p99, "p999_us": p999, "max_us": max,
        });
        writeln!(out, "{figures}")
    } else {
        writeln!(
            out,
            "append {bytes} bytes and fdatasync: {rate:.0}/s; us: p50 {p50:.0}, p90 {p90:.0}, p99 {p99:.0}, \
             p99.9 {p999:.0}, max {max:.0} of {}",
            times.count()
        )
    };
    said.context("write to standard output")
}

/// Nanoseconds that it took.
fn append(file: &mut File, bytes: usize) -> std::io::Result<u64> {
    let body = vec![7; bytes];
    let began = Instant::now();
    file.write_all(&body)?;
    file.sync_data()?;
    Ok(u64::try_from(began.elapsed().as_nanos()).expect("less than 500 years"))
}

fn per_second(count: u64, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let count = count as f64;
    count / time.as_secs_f64()
}
