//! How much room the disk has left, and for how long that will do.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, anyhow, ensure};
use api::{DiskRoom, Room};
use materializer::Fence;
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

/// Below this much, nothing is written, deletes included: a fortieth of the disk, or this if it is less. What the logs
/// and views hold in memory needs it to reach the disk. So RocksDB meets the end of the disk only if somebody else is
/// quicker.
const RESERVE_BYTES: u64 = 1 << 30;

/// Below so many free inodes, nothing is written: a RocksDB that cannot make a file is worse off than one that cannot
/// lengthen it.
const RESERVE_FILES: u64 = 64;

/// How long a view may stand still though there is room. RocksDB looks every 5 s whether it can go on; what it has not
/// recovered from by then it holds to be fatal.
const STANDSTILL_PATIENCE: Duration = Duration::from_secs(60);

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
    /// Inodes that are left; `None` where a file system does not count them.
    free_files: Option<u64>,
}

impl Disk {
    fn of(dir: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        let free_files = (0 < found.f_files).then_some(found.f_favail);
        Ok(Self { free: bytes(found.f_bavail), total: bytes(found.f_blocks), free_files })
    }

    fn reserve(self) -> u64 {
        (self.total / 40).min(RESERVE_BYTES)
    }

    fn hard_mark(self) -> u64 {
        (self.total / 20).min(HARD_MARK_BYTES)
    }

    fn high_mark(self) -> u64 {
        (self.total / 10).min(HIGH_MARK_BYTES)
    }

    fn room(self) -> Room {
        if self.free < self.reserve() || self.free_files.is_some_and(|left| left < RESERVE_FILES) {
            Room::None
        } else if self.free < self.hard_mark() {
            Room::ForDeletes
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

/// Looks at the disk, and says what it has room for.
#[derive(Clone, Debug)]
pub(crate) struct DiskWatch {
    /// Where the data lie.
    pub(crate) dir: PathBuf,
    /// Whom to tell.
    pub(crate) room: DiskRoom,
}

impl DiskWatch {
    /// Whether the logs may be written to. Takes microseconds. A disk that cannot be asked is for the log to find out.
    pub(crate) fn has_room(&self) -> bool {
        self.look().is_none_or(|disk| disk.room() < Room::None)
    }

    fn look(&self) -> Option<Disk> {
        let disk = Disk::of(&self.dir).ok()?;
        announce(&self.room, disk, &self.dir);
        Some(disk)
    }
}

/// Watches the disk until `stop`.
pub(crate) async fn watch(
    watch: DiskWatch,
    metrics: DiskMetrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (began, mut shrinking) = (Instant::now(), Shrinking::default());
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        let asked = watch.clone();
        let Some(disk) = spawn_blocking(move || asked.look()).await? else { continue };
        let at = began.elapsed();
        shrinking.sample(at, disk.free);
        metrics.free.set(i64::try_from(disk.free).unwrap_or(i64::MAX));
        metrics.runway.set(shrinking.runway(at, disk.free, disk.hard_mark()));
    }
    Ok(())
}

/// Ends when the view of a log stands still though there is room for it.
pub(crate) async fn watch_standstill(
    log: String,
    fence: Arc<Fence>,
    room: DiskRoom,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut look = interval(LOOK_EVERY);
    let mut since = None;
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        let why = fence.stands_still_because().filter(|_| room.get() < Room::None);
        let Some(why) = why else {
            since = None;
            continue;
        };
        if STANDSTILL_PATIENCE < since.get_or_insert_with(Instant::now).elapsed() {
            return Err(anyhow!(
                "{log} has not been applied for {STANDSTILL_PATIENCE:?} though there is room: {why}"
            ));
        }
    }
    Ok(())
}

fn announce(room: &DiskRoom, disk: Disk, dir: &Path) {
    let now = disk.room();
    if room.set(now) == now {
        return;
    }
    let (free, dir) = (disk.free >> 20, dir.display());
    match now {
        Room::Enough => tracing::info!("The disk of {dir} has room again: {free} MiB are free"),
        Room::ForKnown => {
            tracing::error!("New sessions are refused: only {free} MiB are free on the disk of {dir}")
        }
        Room::ForDeletes => {
            tracing::error!("All writes are refused: only {free} MiB are free on the disk of {dir}")
        }
        Room::None => {
            let files = disk.free_files.map(|left| format!(" and {left} inodes")).unwrap_or_default();
            tracing::error!(
                "All writes and deletes are refused: only {free} MiB{files} are free on the disk of {dir}"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn marks_are_parts_of_a_small_disk_and_fixed_on_a_large_one() {
        let room = |free, total| Disk { free, total, free_files: None }.room();
        assert_eq!(room(11, 100), Room::Enough);
        assert_eq!(room(9, 100), Room::ForKnown);
        assert_eq!(room(5, 100), Room::ForKnown);
        assert_eq!(room(4, 100), Room::ForDeletes);
        assert_eq!(room(1, 100), Room::None);
        assert_eq!(room(8 * GIB, 1_000 * GIB), Room::Enough);
        assert_eq!(room(7 * GIB, 1_000 * GIB), Room::ForKnown);
        assert_eq!(room(GIB, 1_000 * GIB), Room::ForDeletes);
        assert_eq!(room(GIB - 1, 1_000 * GIB), Room::None);
    }

    #[test]
    fn a_disk_without_inodes_is_full() {
        let room = |free_files| Disk { free: GIB, total: GIB, free_files }.room();
        assert_eq!(room(Some(RESERVE_FILES)), Room::Enough);
        assert_eq!(room(Some(RESERVE_FILES - 1)), Room::None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_view_that_stands_still_though_there_is_room_ends_the_node() {
        let (fence, room, stop) = (Arc::new(Fence::default()), DiskRoom::default(), CancellationToken::new());
        let mut watching =
            Box::pin(watch_standstill("eqiad.sessions".to_owned(), Arc::clone(&fence), room.clone(), stop));
        let mut waits =
            async |patience: Duration| tokio::time::timeout(patience, &mut watching).await.is_err();
        fence.stands_still("no space".into());
        room.set(Room::None);
        assert!(waits(10 * STANDSTILL_PATIENCE).await, "there is no room");
        room.set(Room::ForDeletes);
        assert!(waits(STANDSTILL_PATIENCE / 2).await, "it may recover yet");
        fence.goes_on();
        assert!(waits(10 * STANDSTILL_PATIENCE).await, "it has recovered");
        fence.stands_still("no space".into());
        assert!(!waits(2 * STANDSTILL_PATIENCE).await);
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
