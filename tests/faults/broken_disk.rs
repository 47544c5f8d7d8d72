//! A disk that cannot keep what it was given: a sync fails.

use std::time::Duration;

use super::{
    Extent, launch,
    load::{Load, PINNED, check_all},
    strace,
};
use crate::harness::eventually;

/// Which sync of each thread fails. Those of the thread that starts the program end the start; of the log's thread, the
/// first is that of the heartbeats and every later one that of a batch of writes.
const FAILING: [u32; 10] = [1, 2, 4, 6, 9, 10, 11, 12, 15, 20];
const FAILING_AT_NIGHT: std::ops::RangeInclusive<u32> = 1..=40;

/// Whether the start itself failed or the node served first, it says which log, and what to do.
#[test]
fn a_failed_sync_ends_the_node_and_nothing_acknowledged_is_lost() {
    let (calls, failing): (&[_], Vec<_>) = match Extent::asked_for() {
        Extent::None => return,
        Extent::Ci => (&["fdatasync"], FAILING.into()),
        Extent::All => (&["fdatasync", "fsync,fdatasync,sync_file_range"], FAILING_AT_NIGHT.collect()),
    };
    let mut node = launch("memory_mb: 64\n").start();
    assert_eq!(node.post(PINNED, "pinned").status, 201);
    let (mut writers, mut served) = (Vec::new(), 0);
    for call in calls {
        for &n in &failing {
            assert!(node.terminate().success());
            let before = node.output().len();
            node.through(Some(&strace::starting_with(&format!("{call}:error=EIO:when={n}"))));
            node.start_again();
            let load = Load::begin(node.address, writers.len() as u64);
            let status = node.ends();
            let (mut of_this_life, _) = load.end();
            served += of_this_life.iter().map(|writer| writer.acknowledged).sum::<usize>();

            let output = node.output();
            assert_eq!(status.code(), Some(1), "{call} {n}\n{output}");
            let said = output.get(before.min(output.len())..).unwrap_or_default();
            let last = said.lines().rfind(|line| line.starts_with("solera: ")).unwrap_or_default();
            assert!(last.contains("Input/output error"), "{call} {n}: {last:?}\n{}", node.tail());
            assert!(last.contains("sessions"), "{call} {n} does not say of which store: {last:?}");

            node.through(None);
            node.restart();
            check_all(&mut of_this_life);
            writers.extend(of_this_life);
        }
    }
    let acknowledged = check_all(&mut writers);
    assert_eq!(node.get(PINNED).text(), "pinned");
    assert!(0 < served, "some served before their sync failed");
    println!("{} failed syncs, {acknowledged} acknowledged changes, none lost", failing.len() * calls.len());
}

/// The log's thread is told by the disk, and the node does not wait for another write to say that it is not ready.
#[test]
fn a_node_whose_sync_fails_while_it_serves_says_what_to_do() {
    if Extent::asked_for() == Extent::None {
        return;
    }
    let mut node = launch("").start();
    assert_eq!(node.post(PINNED, "pinned").status, 201);
    let fault = strace::Fault::begin(node.pid(), "fdatasync:error=EIO", &[]);
    let answer = node.post("/sessions/v1/unlucky", "x");
    assert_eq!(answer.status, 504, "{}", answer.everything());
    assert_eq!(answer.json()["outcome"], "unknown");
    eventually("it is not ready", Duration::from_secs(5), || (!node.is_ready()).then_some(()));
    assert_eq!(node.ends().code(), Some(1));
    drop(fault);
    let output = node.output();
    for words in ["a write to the log", ".sessions failed", "Input/output error", "check it, and start again"]
    {
        assert!(output.contains(words), "{words:?}\n{output}");
    }
    node.restart();
    assert_eq!(node.get(PINNED).text(), "pinned");
}
