use std::collections::BTreeMap;

use eventlog::{ManualClock, SystemClock};
use proptest::prelude::*;
use schemas::{DcState, Headers, Hlc, Partition, Sealed, Until, WriterId};
use tempfile::TempDir;

use super::*;
use crate::{Class, Declarations, Numbers, Slot, State, memory::MemoryView};

fn topic() -> Topic {
    Topic { origin: "eqiad".parse().unwrap(), store: "sessions".parse().unwrap() }
}

fn logs(incarnation: &str) -> Vec<(Topic, Incarnation)> {
    vec![(topic(), Incarnation(incarnation.into()))]
}

fn open_with(dir: &Path, clock: &Arc<LogClock>, incarnation: &str) -> Result<SessionView, ViewError> {
    let memory = ViewMemory::of(64 << 20);
    SessionView::open(dir, ViewOptions { memory: &memory, clock: Arc::clone(clock), logs: logs(incarnation) })
}

fn open(dir: &Path) -> SessionView {
    open_with(dir, &Arc::new(LogClock::new(Arc::new(SystemClock::start()))), "one").unwrap()
}

fn version(n: u64) -> Version {
    Version { hlc: Hlc::from_bits(n), writer: WriterId(3) }
}

fn cell(n: u64, state: State) -> Cell {
    let headers = Headers::from_pairs([("q", &b"1"[..])]).unwrap();
    Cell { version: version(n), retain_until: Until::At(Timestamp::from_millis(50)), headers, state }
}

fn live(n: u64) -> Cell {
    cell(n, State::Live { expires_at: Until::Never, sealed: Sealed(Bytes::from(vec![7; 100])) })
}

fn declarations(said: BTreeMap<(u32, String), (bool, u64, u64)>) -> Declarations {
    let mut all = Declarations::new();
    for ((partition, dc), (is_up, id, appended)) in said {
        let dc: Dc = dc.parse().unwrap();
        let state = if is_up { DcState::Up } else { DcState::Down };
        let declaration = Declaration { dc: dc.clone(), state, id: version(id) };
        let noted = Noted { declaration, appended: Timestamp::from_millis(appended) };
        all.entry((topic(), Partition(partition))).or_default().insert(dc, noted);
    }
    all
}

prop_compose! {
    fn any_write()(
        cells in prop::collection::btree_map(0..6_u8, (0..100_u64, 0..3_u8), 0..5),
        debts in prop::collection::btree_map(0..6_u8, prop::option::of(0..100_u64), 0..3),
        census in prop::collection::btree_map((any::<bool>(), 0..5_u64), (0..3_u64, 0..9_u64), 0..4),
        declared in prop::collection::btree_map((0..2_u32, "[a-c]"), (any::<bool>(), 0..9_u64, 0..9_u64), 0..3),
        offset in 0..1000_u64, newest in prop::option::of(1..100_u64), times: (u32, u32),
    ) -> ViewWrite {
        let key = |n: u8| KeyId::from_bytes([n; 16]);
        let time = |millis: u32| Timestamp::from_millis(u64::from(millis));
        let make = |(n, kind): (u64, u8)| match kind {
            0 => live(n),
            1 => cell(n, State::Stripped { expires_at: Until::At(Timestamp::from_millis(n)) }),
            _ => cell(n, State::Tombstone),
        };
        ViewWrite {
            cells: cells.into_iter().map(|(n, cell)| (key(n), make(cell))).collect(),
            debts: debts.into_iter().map(|(n, since)| (key(n), since.map(Timestamp::from_millis))).collect(),
            declared: declarations(declared),
            positions: vec![(topic(), Partition(1), Offset(offset))],
            numbers: vec![(topic(), Partition(1), Numbers::begin(Offset(offset), time(times.0)))],
            census: census
                .into_iter()
                .map(|((is_live, minute), (cells, bytes))| {
                    let class = if is_live { Class::Live } else { Class::Tombstone };
                    (Slot { class, minute }, Count { cells, bytes })
                })
                .collect(),
            marks: Marks { newest_version: newest.map(version), newest_append: time(times.0), read_now: time(times.1) },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Against the oracle, over a clean stop.
    #[test]
    fn it_holds_what_a_map_would_hold(writes in prop::collection::vec(any_write(), 1..12)) {
        let mut writes = writes;
        // Positions only go forward.
        let mut reached = 0;
        for write in &mut writes {
            reached += write.positions[0].2.0;
            write.positions[0].2 = Offset(reached);
        }
        let dir = TempDir::new().unwrap();
        let oracle = MemoryView::new(logs("one"));
        let view = open(dir.path());
        for write in &writes {
            view.write(write).unwrap();
            oracle.write(write).unwrap();
        }
        prop_assert_eq!(view.saved().unwrap(), oracle.saved().unwrap());
        prop_assert_eq!(view.scan(None, 100).unwrap(), oracle.scan(None, 100).unwrap());
        let mut by_pieces = Vec::new();
        let mut after = None;
        loop {
            let Essences { cells, last } = view.essences(after, 100).unwrap();
            by_pieces.extend(cells);
            after = last;
            if last.is_none() {
                break;
            }
        }
        prop_assert_eq!(by_pieces, oracle.essences(None, 10_000).unwrap().cells);
        for gc_now in [0, 50, 1_000].map(Timestamp::from_millis) {
            prop_assert_eq!(view.expired(None, gc_now).unwrap(), oracle.expired(None, gc_now).unwrap());
        }
        view.flush().unwrap();
        drop(view);
        let view = open(dir.path());
        prop_assert_eq!(view.saved().unwrap(), oracle.saved().unwrap());
        prop_assert_eq!(view.scan(None, 100).unwrap(), oracle.scan(None, 100).unwrap());
        for gc_now in [0, 50, 1_000].map(Timestamp::from_millis) {
            prop_assert_eq!(view.expired(None, gc_now).unwrap(), oracle.expired(None, gc_now).unwrap());
        }
        for n in 0..6 {
            let key = KeyId::from_bytes([n; 16]);
            prop_assert_eq!(view.get(&key).unwrap(), oracle.get(&key).unwrap());
            prop_assert_eq!(view.version(&key).unwrap(), oracle.version(&key).unwrap());
            prop_assert_eq!(view.head(&key).unwrap(), oracle.head(&key).unwrap());
        }
    }
}

#[test]
fn a_scan_goes_on_after_the_last_key_it_gave() {
    let dir = TempDir::new().unwrap();
    let view = open(dir.path());
    let key = |n: u8| KeyId::from_bytes([n; 16]);
    let cells: BTreeMap<_, _> = (0..5).map(|n| (key(n), live(u64::from(n)))).collect();
    let debts = BTreeMap::from([(key(200), Some(Timestamp::from_millis(1)))]);
    view.write(&ViewWrite { cells, debts, ..ViewWrite::default() }).unwrap();
    let keys =
        |after, limit| view.scan(after, limit).unwrap().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(None, 2), [key(0), key(1)]);
    assert_eq!(keys(Some(key(1)), 10), [key(2), key(3), key(4)]);
    assert_eq!(keys(Some(key(4)), 10), []);
}

#[test]
fn a_view_of_another_life_of_the_log_is_refused() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));
    let clock = Arc::new(LogClock::new(Arc::new(SystemClock::start())));
    let opened = open_with(dir.path(), &clock, "two");
    assert!(matches!(opened, Err(ViewError::Foreign(_))), "{opened:?}");
}

#[test]
fn a_view_of_another_format_is_refused() {
    let dir = TempDir::new().unwrap();
    let view = open(dir.path());
    view.db.put(keys::FORMAT, b"solera view 4").unwrap();
    view.flush().unwrap();
    drop(view);
    let clock = Arc::new(LogClock::new(Arc::new(SystemClock::start())));
    let opened = open_with(dir.path(), &clock, "one");
    assert!(matches!(&opened, Err(ViewError::Damaged(why)) if why.contains("view 4")), "{opened:?}");
}

#[test]
fn compaction_drops_dead_cells_by_the_logs_time_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let manual = Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000)));
    let clock = Arc::new(LogClock::new(manual));
    let view = open_with(dir.path(), &clock, "one").unwrap();
    let key = |n: u8| KeyId::from_bytes([n; 16]);
    let kept = Cell { retain_until: Until::Never, ..cell(2, State::Tombstone) };
    let cells = BTreeMap::from([(key(1), cell(1, State::Tombstone)), (key(2), kept), (key(3), live(3))]);
    let debts = BTreeMap::from([(key(9), Some(Timestamp::EPOCH))]);
    let positions = vec![(topic(), Partition(0), Offset(0))];
    let marks = Marks { newest_version: Some(version(3)), ..Marks::default() };
    view.write(&ViewWrite { cells, debts, positions, marks, ..ViewWrite::default() }).unwrap();
    let compact = || {
        view.flush().unwrap();
        let mut options = rocksdb::CompactOptions::default();
        options.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
        view.db.compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
        view.scan(None, 10).unwrap().into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    let before = view.saved().unwrap();
    assert_eq!(compact(), [key(1), key(2), key(3)], "nobody has told the time yet");
    clock.anchor(Timestamp::from_millis(51), Timestamp::EPOCH);
    assert_eq!(compact(), [key(2)], "retained until 50");
    assert_eq!(view.saved().unwrap(), before);
}

#[test]
fn a_view_at_rest_returns_the_space_of_what_was_overwritten() {
    let dir = TempDir::new().unwrap();
    let view = open(dir.path());
    let big = |n: u64| {
        let sealed = Sealed(Bytes::from(vec![7; 256 * 1024]));
        cell(n, State::Live { expires_at: Until::Never, sealed })
    };
    // 12 MiB, three times: fewer files than RocksDB would merge by itself.
    let mut census = Census::default();
    for n in 1..4 {
        let mut write = ViewWrite::default();
        for key in 0..48 {
            let before = (1 < n).then(|| Head::of(&big(n - 1)));
            census.replace(before, Head::of(&big(n)), &mut write.census);
            write.cells.insert(KeyId::from_bytes([key; 16]), big(n));
        }
        view.write(&write).unwrap();
        view.flush().unwrap();
    }
    let look = |has_room: bool| view.compact_if_due(Timestamp::from_millis(1), |_| has_room).unwrap();
    assert_eq!(look(true), None, "nobody knows yet whether it rests");
    assert_eq!(look(false), None, "the disk has no room for it");
    let (before, after) = look(true).expect("it rests, and holds three times what lives");
    assert!(36 << 20 <= before && (12 << 20..13 << 20).contains(&after), "{before} {after}");
    assert_eq!((look(true), look(true)), (None, None));
    assert_eq!(
        view.scan(None, 100).unwrap(),
        (0..48).map(|n| (KeyId::from_bytes([n; 16]), big(3))).collect::<Vec<_>>()
    );
    view.close().unwrap();
    assert!(view.get(&KeyId::from_bytes([1; 16])).unwrap().is_some(), "it can be read");
}
