//! A disk without space: reads go on, writes are refused and were not stored, and the service comes back by itself.

use std::{
    fs,
    time::{Duration, Instant},
};

use rand::{RngCore, SeedableRng, rngs::StdRng};

use super::{
    Extent, launch,
    load::{Load, PINNED, check_all},
    small_disk::SmallDisk,
    strace::Fault,
};
use crate::harness::{Node, Response, eventually};

/// The smallest memory there is: a view is flushed after 8 MiB.
const CONFIG: &str = "memory_mb: 64\nlimits: { request_timeout_ms: 1000 }\n";

/// Of a small disk, a tenth is the high mark, half of that the hard one, and half of that the reserve.
const DISK_MIB: u64 = 256;
const MIB: u64 = 1024 * 1024;

/// RocksDB looks every 5 s whether it can go on; the rest is patience.
const BACK_WITHIN: Duration = Duration::from_secs(20);

fn refuses(answer: &Response) -> bool {
    answer.status == 503 && answer.json()["outcome"] == "refused"
}

fn refuses_all(node: &Node) -> bool {
    refuses(&node.post("/sessions/v1/new", "x")) && refuses(&node.delete("/sessions/v1/nobody"))
}

/// Resolves when it takes writes and deletes, and says how long that took.
fn comes_back(node: &Node) -> Duration {
    let begun = Instant::now();
    eventually("it takes writes again", BACK_WITHIN, || {
        (node.post("/sessions/v1/back", "x").status == 201).then_some(())
    });
    assert_eq!(node.delete("/sessions/v1/back").status, 204);
    begun.elapsed()
}

fn with_pinned() -> Node {
    let node = launch(CONFIG).start();
    assert_eq!(node.post(PINNED, "pinned").status, 201);
    node
}

/// No read failed meanwhile, and every key holds what it may, also after a kill.
fn nothing_was_lost(mut node: Node, load: Load) {
    let (mut writers, met) = load.end();
    assert!(met.failed.is_empty(), "a read failed: {:?}", met.failed);
    check_all(&mut writers);
    node.kill9();
    node.restart();
    check_all(&mut writers);
    assert_eq!(node.get(PINNED).text(), "pinned");
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_goes_on_when_there_is_space() {
    let rounds = match Extent::asked_for() {
        Extent::None => return,
        Extent::Ci => 3,
        Extent::All => 30,
    };
    let prepared = launch(CONFIG);
    let disk = SmallDisk::mount(&prepared.dir().join("data"), DISK_MIB);
    let mut node = prepared.through(&disk.entering()).start();
    assert_eq!(node.post(PINNED, "pinned").status, 201);
    let (mut writers, mut reads) = (Vec::new(), 0);
    for round in 0..rounds {
        let load = Load::begin(node.address, writers.len() as u64);
        disk.fill(8 * MIB);
        eventually("sets are refused", Duration::from_secs(10), || {
            refuses(&node.post("/sessions/v1/new", "x")).then_some(())
        });
        assert_eq!(node.delete("/sessions/v1/nobody").status, 204, "deletes are taken for longer");
        disk.fill(0);
        eventually("everything is refused", Duration::from_secs(10), || refuses_all(&node).then_some(()));
        let free = disk.free();
        assert!(refuses_all(&node) && refuses_all(&node));
        assert!(free <= disk.free() + MIB, "and takes nothing: {free} bytes were free, {} are", disk.free());

        disk.clear();
        let took = comes_back(&node);
        let (of_this_round, met) = load.end();
        assert!(met.failed.is_empty(), "a read failed: {:?}", met.failed);
        assert!(of_this_round.iter().all(|writer| 0 < writer.refused && 0 < writer.acknowledged));
        println!("round {round}: back after {took:?}; {} reads meanwhile, none failed", met.found);
        reads += met.found;
        writers.extend(of_this_round);
        check_all(&mut writers);

        // Not only in memory, and nothing that was refused.
        disk.fill(0);
        node.kill9();
        disk.clear();
        node.restart();
        check_all(&mut writers);
    }
    println!("{} acknowledged changes, {reads} reads", check_all(&mut writers));
    assert_eq!(node.get(PINNED).text(), "pinned");
}

/// A node that is killed on a full disk may not be able to start there; nothing is lost by trying.
#[test]
fn a_start_on_a_full_disk_loses_nothing() {
    if Extent::asked_for() == Extent::None {
        return;
    }
    let prepared = launch(CONFIG);
    let disk = SmallDisk::mount(&prepared.dir().join("data"), DISK_MIB);
    let mut node = prepared.through(&disk.entering()).start();
    let load = Load::begin(node.address, 0);
    eventually("something is written", Duration::from_secs(10), || {
        (node.post(PINNED, "pinned").status == 201).then_some(())
    });
    disk.fill(0);
    node.kill9();
    let (mut writers, _) = load.end();
    node.start_again();
    let answer = eventually("it serves or it ends", Duration::from_secs(20), || {
        if node.is_ready() { Some(true) } else { node.has_ended().then_some(false) }
    });
    if !answer {
        assert!(node.output().contains("No space left on device"), "{}", node.tail());
    }
    disk.clear();
    node.restart();
    check_all(&mut writers);
    assert_eq!(node.get(PINNED).text(), "pinned");
}

/// Somebody else is quicker than the look at the free space: an append meets the end of the disk.
#[test]
fn an_append_that_finds_no_space_is_refused_once_it_is_known_not_to_be_stored() {
    if Extent::asked_for() == Extent::None {
        return;
    }
    let node = with_pinned();
    let load = Load::begin(node.address, 0);
    for _ in 0..3 {
        let wal = newest(&only_folder_of(&node, "log"), "log");
        let met = || node.logged("takes nothing until there is space");
        let before = met();
        let fault = Fault::begin(node.pid(), "write:error=ENOSPC", &[wal]);
        eventually("an append finds no space", Duration::from_secs(5), || (before < met()).then_some(()));
        drop(fault);
        comes_back(&node);
    }
    nothing_was_lost(node, load);
}

/// The same, but even a sync finds no space, again and again.
#[test]
fn a_sync_that_finds_no_space_leaves_the_outcome_open_until_the_log_has_recovered() {
    if Extent::asked_for() == Extent::None {
        return;
    }
    let node = with_pinned();
    let load = Load::begin(node.address, 0);
    let fault = Fault::begin(node.pid(), "fdatasync:error=ENOSPC", &[]);
    eventually("everything is refused", Duration::from_secs(5), || refuses_all(&node).then_some(()));
    assert!(node.is_ready(), "it serves reads");
    drop(fault);
    println!("back after {:?}", comes_back(&node));
    nothing_was_lost(node, load);
}

/// All of the batch is in the write-ahead log, and a kill leaves it there: the start brings it back. So nobody may have
/// been told that it was refused.
#[test]
fn what_a_crash_may_bring_back_was_not_called_refused() {
    if Extent::asked_for() == Extent::None {
        return;
    }
    let mut node = with_pinned();
    let fault = Fault::begin(node.pid(), "fdatasync:error=ENOSPC", &[]);
    let open = node.post("/sessions/v1/open", "x");
    let refused = node.post("/sessions/v1/refused", "x");
    node.kill9();
    drop(fault);
    node.restart();
    assert!(refuses(&refused), "{}", refused.everything());
    assert_eq!(node.get("/sessions/v1/refused").status, 404);
    let came_back = node.get("/sessions/v1/open").status == 200;
    assert!(!(came_back && refuses(&open)), "it was refused: {}", open.everything());
    assert!(came_back, "it does not show anything if it never comes back");
    assert_eq!(node.get(PINNED).text(), "pinned");
}

/// The view cannot be flushed: it stands still, is read, and neither loses its place nor ends the node.
#[test]
fn a_view_without_space_stands_still_and_goes_on() {
    if Extent::asked_for() == Extent::None {
        return;
    }
    let node = with_pinned();
    let view = only_folder_of(&node, "view/sessions");
    let files: Vec<_> = (0..200).map(|n| format!("{view}/{n:06}.sst")).collect();
    let fault = Fault::begin(node.pid(), "write,pwrite64,fdatasync:error=ENOSPC", &files);
    let large = incompressible(60_000);
    let met_it = eventually("the view meets the end of its disk", Duration::from_secs(60), || {
        let answer = node.post("/sessions/v1/large", &large);
        (answer.status != 201).then_some(answer)
    });
    // It was in the log before anybody knew.
    assert_eq!(met_it.json()["outcome"], "stored", "{}", met_it.everything());
    let load = Load::begin(node.address, 0);
    eventually("all writes are refused", Duration::from_secs(5), || refuses_all(&node).then_some(()));
    assert!(node.is_ready(), "it serves reads");
    drop(fault);
    println!("back after {:?}", comes_back(&node));
    nothing_was_lost(node, load);
}

/// So many bytes without a pattern: what is flushed is as large as what was sent.
fn incompressible(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    StdRng::seed_from_u64(1).fill_bytes(&mut bytes);
    bytes
}

fn only_folder_of(node: &Node, within: &str) -> String {
    let dir = node.data_dir().join(within);
    let mut folders =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    folders.next().expect("there is one").display().to_string()
}

fn newest(dir: &str, extension: &str) -> String {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let newest = files.filter(|path| path.extension().is_some_and(|found| found == extension)).max();
    newest.expect("there is one").display().to_string()
}
