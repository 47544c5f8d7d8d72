//! Wall clocks that jump by hours, while the node serves and while it is down. The monotonic clock goes on, as it does
//! when an operator or NTP steps the clock.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Extent, launch};
use crate::harness::{Node, eventually, message};

const CONFIG: &str = "default_ttl: 604800\n";
const HOUR_S: i64 = 3600;
/// Readers may be told a time that stands still for twice the clamp, after a clock that was ahead falls behind.
const SOON: Duration = Duration::from_secs(20);

/// A node under a clock of its own.
struct Stepped {
    node: Node,
    file: PathBuf,
    /// The version that was acknowledged last, as text of one length.
    newest: String,
    written: usize,
}

impl Stepped {
    fn start() -> Self {
        Self::start_with(CONFIG)
    }

    fn start_with(config: &str) -> Self {
        let prepared = launch(config);
        let file = prepared.dir().join("clock");
        set(&file, 0);
        let prepared = prepared
            .environment("LD_PRELOAD", &library().display().to_string())
            .environment("FAKETIME_TIMESTAMP_FILE", &file.display().to_string())
            .environment("FAKETIME_NO_CACHE", "1")
            .environment("DONT_FAKE_MONOTONIC", "1");
        let node = prepared.through("exec \"$@\"").start();
        Self { node, file, newest: String::new(), written: 0 }
    }

    /// Steps the clock of the process that runs, and waits until it has seen it.
    fn step(&self, hours: i64) {
        set(&self.file, hours * HOUR_S);
        eventually("the process sees its clock", SOON, || {
            let metrics = self.node.get("/metrics");
            let ahead =
                metrics.text().lines().find_map(|line| line.strip_prefix("solera_clock_ahead_seconds{"));
            let ahead: f64 = ahead?.split_whitespace().last()?.parse().ok()?;
            #[expect(clippy::cast_precision_loss, reason = "some hours")]
            let expected = (hours * HOUR_S) as f64;
            ((ahead - expected).abs() < 60.0).then_some(())
        });
    }

    /// Ends the process, and starts another with a clock that is so far ahead.
    fn restart(&mut self, hours: i64, orderly: bool) {
        if orderly {
            assert!(self.node.terminate().success());
        } else {
            self.node.kill9();
        }
        set(&self.file, hours * HOUR_S);
        self.node.restart();
    }

    fn write(&mut self, target: &str, ttl: &str) {
        let answer = self.node.request(message("POST", target, &[("Session-Ttl", ttl)], b"contents"));
        assert_eq!(answer.status, 201, "{target}: {}", answer.everything());
        let version = answer.header("etag").expect("a version").to_owned();
        assert!(self.newest < version, "versions only grow: {} and then {version}", self.newest);
        self.newest = version;
    }

    /// Writes, reads, deletes and reads, as any client does.
    fn works(&mut self) {
        self.written += 1;
        let target = format!("/sessions/v1/works-{}", self.written);
        // Above the clamp, and far below what the clock is stepped by.
        self.write(&target, "60");
        self.is_there(&target);
        assert_eq!(self.node.delete(&target).status, 204);
        self.is_gone(&target);
    }

    fn is_there(&self, target: &str) {
        let answer = self.node.get(target);
        assert_eq!(answer.status, 200, "{target} is hidden: {}", self.node.tail());
        assert_eq!(answer.text(), "contents");
    }

    fn is_gone(&self, target: &str) {
        let answer = self.node.get(target);
        assert_eq!(answer.status, 404, "{target} came back: {}", answer.everything());
    }

    fn expires(&mut self, target: &str) {
        self.write(target, "1");
        eventually("a session of one second expires", SOON, || {
            (self.node.get(target).status == 404).then_some(())
        });
    }
}

fn set(file: &Path, ahead_s: i64) {
    let written = file.with_extension("new");
    fs::write(&written, format!("{ahead_s:+}\n")).expect("write the clock's file");
    fs::rename(&written, file).expect("put the clock's file in place");
}

/// The one for programs with several threads.
pub(crate) fn library() -> PathBuf {
    let folder = |name: &str| Path::new("/usr/lib").join(name).join("faketime/libfaketimeMT.so.1");
    let found = ["x86_64-linux-gnu", "aarch64-linux-gnu", "", "../lib64"]
        .map(folder)
        .into_iter()
        .find(|path| path.exists());
    found.expect("libfaketime: scripts/deps.sh installs it")
}

#[test]
fn a_clock_that_jumps_while_the_node_serves_hides_nothing_and_brings_nothing_back() {
    let steps: &[i64] = match Extent::asked_for() {
        Extent::None => return,
        Extent::Ci => &[6, -6, 26, 0],
        Extent::All => &[6, -6, 26, 0, -26, 6, -1, 1, 0, 240, -240, 0],
    };
    let mut stepped = Stepped::start();
    stepped.write("/sessions/v1/short", "120");
    stepped.write("/sessions/v1/long", "604800");
    stepped.write("/sessions/v1/deleted", "604800");
    assert_eq!(stepped.node.delete("/sessions/v1/deleted").status, 204);
    stepped.expires("/sessions/v1/expired");
    for &hours in steps {
        stepped.step(hours);
        stepped.works();
        stepped.is_there("/sessions/v1/short");
        stepped.is_there("/sessions/v1/long");
        stepped.is_gone("/sessions/v1/deleted");
        stepped.is_gone("/sessions/v1/expired");
        stepped.expires(&format!("/sessions/v1/expired-at-{hours}"));
    }
    stepped.node.wait_for_log("that the clock was stepped", |line| {
        line["msg"].as_str().is_some_and(|message| message.contains("it was stepped"))
    });
}

#[test]
fn a_clock_that_was_set_back_before_a_start_brings_nothing_back() {
    if Extent::asked_for() == Extent::None {
        return;
    }
    for orderly in [true, false] {
        let mut stepped = Stepped::start();
        stepped.write("/sessions/v1/long", "604800");
        stepped.write("/sessions/v1/deleted", "604800");
        assert_eq!(stepped.node.delete("/sessions/v1/deleted").status, 204);
        // The log's time moves on with what is appended: a kill leaves no other trace of what readers were told.
        stepped.expires("/sessions/v1/expired");
        let begun = Instant::now();
        eventually("the log is past the clamp", Duration::from_secs(20), || {
            stepped.works();
            (Duration::from_secs(7) < begun.elapsed()).then_some(())
        });
        stepped.restart(-6, orderly);
        stepped.is_there("/sessions/v1/long");
        stepped.is_gone("/sessions/v1/deleted");
        stepped.is_gone("/sessions/v1/expired");
        stepped.works();
        stepped.restart(0, orderly);
        stepped.is_there("/sessions/v1/long");
        stepped.is_gone("/sessions/v1/deleted");
        stepped.is_gone("/sessions/v1/expired");
        stepped.works();
    }
}

/// More than a day ahead: the start cannot know better than its clock, but destroys nothing. What it hid is there again
/// when the view is made again under the right clock.
#[test]
fn a_start_under_a_clock_a_day_ahead_destroys_nothing() {
    if Extent::asked_for() == Extent::None {
        return;
    }
    let mut stepped = Stepped::start();
    stepped.write("/sessions/v1/day", "86400");
    stepped.write("/sessions/v1/week", "604800");
    stepped.write("/sessions/v1/deleted", "604800");
    assert_eq!(stepped.node.delete("/sessions/v1/deleted").status, 204);
    stepped.restart(26, true);
    stepped.is_gone("/sessions/v1/day");
    stepped.is_there("/sessions/v1/week");
    stepped.is_gone("/sessions/v1/deleted");
    stepped.works();

    assert!(stepped.node.terminate().success());
    fs::remove_dir_all(stepped.node.data_dir().join("view")).unwrap();
    set(&stepped.file, 0);
    stepped.node.restart();
    stepped.is_there("/sessions/v1/day");
    stepped.is_there("/sessions/v1/week");
    stepped.is_gone("/sessions/v1/deleted");
    stepped.works();
}

/// As Kask's second store at Wikimedia, which remembers for a year which notifications somebody has seen.
#[test]
fn a_session_of_a_year_lives_for_a_year_and_no_longer() {
    if Extent::asked_for() == Extent::None {
        return;
    }
    const YEAR_H: i64 = 365 * 24;
    let year = (YEAR_H * HOUR_S).to_string();
    let mut stepped = Stepped::start_with(&format!("default_ttl: {year}\n"));
    stepped.write("/sessions/v1/seen", &year);
    stepped.write("/sessions/v1/day", "86400");
    stepped.write("/sessions/v1/renewed", &year);
    stepped.restart(YEAR_H / 2, true);
    stepped.is_gone("/sessions/v1/day");
    stepped.write("/sessions/v1/renewed", &year);
    stepped.write("/sessions/v1/deleted", &year);
    assert_eq!(stepped.node.delete("/sessions/v1/deleted").status, 204);
    for orderly in [true, false] {
        stepped.restart(YEAR_H - 1, orderly);
        stepped.is_there("/sessions/v1/seen");
        stepped.is_gone("/sessions/v1/deleted");
        stepped.works();
    }
    stepped.restart(YEAR_H + 1, true);
    stepped.is_gone("/sessions/v1/seen");
    stepped.is_there("/sessions/v1/renewed");
    stepped.restart(YEAR_H / 2 + YEAR_H + 1, false);
    stepped.is_gone("/sessions/v1/renewed");
    stepped.works();
}
