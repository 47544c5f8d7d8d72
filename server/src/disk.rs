//! How much room the disk has left, and for how long that will do.

use std::{collections::VecDeque, io, path::Path, path::PathBuf, time::Duration};

use anyhow::{Context, ensure};
use api::{DiskRoom, Room};
use prometheus::{Gauge, IntGauge, Registry};
use tokio::{
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

/// How often the disk is asked. Written at 500 MB/s it loses less in that time than what the hard mark keeps; only a
/// disk of a few GB can go from enough to nothing between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Below this much, new sessions are refused: a tenth of the disk, or this if it is less.
const HIGH_MARK_BYTES: u64 = 8 << 30;

/// Below this much, all writes are refused: half a tenth of the disk, or this if it is less. A cleaning of the log and
/// compactions of the view need it to give space back.
const HARD_MARK_BYTES: u64 = 2 << 30;

/// Over how long the disk's shrinking is averaged.
const WINDOW: Duration = Duration::from_secs(3600);

/// How often a sample for the average is taken.
const SAMPLE_EVERY: Duration = Duration::from_secs(60);

/// What is shown of the disk.
#[derive(Clone, Debug)]
pub(crate) struct DiskMetrics {
    /// Bytes that this process may still write.
    free: IntGauge,
    /// Seconds until the hard mark, if the disk goes on to fill as it did in the last hour; `+Inf` when it does not fill.
    runway: Gauge,
}

impl DiskMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            free: IntGauge::new("solera_disk_free_bytes", "Free space of the disk of data_dir, in bytes.")?,
            runway: Gauge::new(
                "solera_disk_runway_seconds",
                "Time until writes are refused for want of space, at the rate of the last hour.",
            )?,
        };
        metrics.runway.set(f64::INFINITY);
        registry.register(Box::new(metrics.free.clone()))?;
        registry.register(Box::new(metrics.runway.clone()))?;
        Ok(metrics)
    }
}

/// Whether `needed` more bytes leave the disk of `dir` above the mark below which new sessions are refused.
///
/// # Errors
/// When they do not, or the disk does not say.
pub(crate) fn check_room(dir: &Path, needed: u64) -> anyhow::Result<()> {
    let disk = Disk::of(dir).with_context(|| format!("ask for the free space of {}", dir.display()))?;
    ensure!(
        disk.high_mark() <= disk.free.saturating_sub(needed),
        "it takes up to {} MB more on the disk of {}, which has {} MB free and keeps {} MB",
        needed >> 20,
        dir.display(),
        disk.free >> 20,
        disk.high_mark() >> 20
    );
    Ok(())
}

/// A disk's free and total bytes, as an unprivileged process may use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Disk {
    free: u64,
    total: u64,
}

impl Disk {
    fn of(dir: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Self { free: bytes(found.f_bavail), total: bytes(found.f_blocks) })
    }

    const fn hard_mark(self) -> u64 {
        let part = self.total / 20;
        if part < HARD_MARK_BYTES { part } else { HARD_MARK_BYTES }
    }

    const fn high_mark(self) -> u64 {
        let part = self.total / 10;
        if part < HIGH_MARK_BYTES { part } else { HIGH_MARK_BYTES }
    }

    const fn room(self) -> Room {
        if self.free < self.hard_mark() {
            Room::None
        } else if self.free < self.high_mark() {
            Room::ForKnown
        } else {
            Room::Enough
        }
    }
}

/// Free bytes over the last hour.
#[derive(Debug, Default)]
struct Shrinking(VecDeque<(Duration, u64)>);

impl Shrinking {
    fn sample(&mut self, at: Duration, free: u64) {
        if self.0.back().is_none_or(|&(last, _)| last + SAMPLE_EVERY <= at) {
            self.0.push_back((at, free));
        }
        while self.0.front().is_some_and(|&(first, _)| first + WINDOW < at) {
            self.0.pop_front();
        }
    }

    /// Seconds until `mark`, from `free` at `at`.
    fn runway(&self, at: Duration, free: u64, mark: u64) -> f64 {
        let Some(&(first, then)) = self.0.front().filter(|(first, _)| *first < at) else {
            return f64::INFINITY;
        };
        let lost = then.saturating_sub(free);
        if lost == 0 {
            return f64::INFINITY;
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let (left, lost) = (free.saturating_sub(mark) as f64, lost as f64);
        left / (lost / (at - first).as_secs_f64())
    }
}

/// Watches the disk until `stop`, and says what it has room for.
pub(crate) async fn watch(
    dir: PathBuf,
    room: DiskRoom,
    metrics: DiskMetrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (began, mut shrinking) = (Instant::now(), Shrinking::default());
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        let asked = dir.clone();
        let Ok(disk) = spawn_blocking(move || Disk::of(&asked)).await? else { continue };
        let at = began.elapsed();
        shrinking.sample(at, disk.free);
        metrics.free.set(i64::try_from(disk.free).unwrap_or(i64::MAX));
        metrics.runway.set(shrinking.runway(at, disk.free, disk.hard_mark()));
        announce(&room, disk, &dir);
    }
    Ok(())
}

fn announce(room: &DiskRoom, disk: Disk, dir: &Path) {
    let (before, now) = (room.get(), disk.room());
    if before == now {
        return;
    }
    room.set(now);
    let (free, dir) = (disk.free >> 20, dir.display());
    match now {
        Room::Enough => tracing::info!("The disk of {dir} has room again: {free} MiB are free"),
        Room::ForKnown => {
            tracing::error!("New sessions are refused: only {free} MiB are free on the disk of {dir}")
        }
        Room::None => {
            tracing::error!("All writes are refused: only {free} MiB are free on the disk of {dir}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn marks_are_parts_of_a_small_disk_and_fixed_on_a_large_one() {
        let room = |free, total| Disk { free, total }.room();
        assert_eq!(room(11, 100), Room::Enough);
        assert_eq!(room(9, 100), Room::ForKnown);
        assert_eq!(room(5, 100), Room::ForKnown);
        assert_eq!(room(4, 100), Room::None);
        assert_eq!(room(8 * GIB, 1_000 * GIB), Room::Enough);
        assert_eq!(room(7 * GIB, 1_000 * GIB), Room::ForKnown);
        assert_eq!(room(GIB, 1_000 * GIB), Room::None);
    }

    #[test]
    fn the_runway_follows_the_last_hour() {
        let minute = |n: u64| Duration::from_secs(60 * n);
        let mut shrinking = Shrinking::default();
        assert!(shrinking.runway(minute(0), 1_000, 0).is_infinite(), "nothing is known yet");
        for n in 0_u64..=180 {
            // An hour and a half of nothing, then a byte a second.
            let free = 100_000 - n.saturating_sub(90) * 60;
            shrinking.sample(minute(n), free);
            assert_eq!(shrinking.runway(minute(n), free, 0).is_infinite(), n <= 90, "minute {n}");
        }
        let free = 100_000 - 90 * 60;
        let runway = shrinking.runway(minute(180), free, 1_000);
        assert!((runway - 93_600.0).abs() < 1.0, "{runway}");
        assert!(shrinking.0.len() <= 62);
        assert!(shrinking.runway(minute(180), 200_000, 0).is_infinite(), "it grows");
        assert!(shrinking.runway(minute(180), 500, 1_000).abs() < f64::EPSILON, "below the mark");
    }

    #[test]
    fn this_machines_disk_answers() {
        let disk = Disk::of(&std::env::temp_dir()).unwrap();
        assert!(disk.free <= disk.total && 0 < disk.total, "{disk:?}");
        assert!(Disk::of(Path::new("/nowhere/at/all")).is_err());
    }
}
