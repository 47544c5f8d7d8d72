use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use eventlog::{Clock, Incarnation, ManualClock, memory::MemoryLog};
use futures::FutureExt;
use prometheus::Registry;
use schemas::{
    Beacon, Change, DcState, Declaration, Event, Headers, Heartbeat, Hlc, Offset, Partition, PartitionCount,
    Position, Record, Sealed, Sequence, Timestamp, Until, WriterId,
};

use super::*;
use crate::{Cell, CellCache, Essence, Hour, Saved, State, Summed, memory::MemoryView};

const SOON: Duration = Duration::from_secs(5);

/// One store on a memory log, followed by a real follower.
struct Bench {
    machine: Arc<ManualClock>,
    log: Arc<MemoryLog>,
    view: Arc<MemoryView>,
    clock: Arc<LogClock>,
    fence: Arc<Fence>,
    debts: Arc<Debts>,
    declared: Arc<Declared>,
    sums: Arc<Sums>,
    beacons: Arc<Beacons>,
    metrics: Metrics,
    observed: Arc<Mutex<Vec<Version>>>,
}

fn topic() -> Topic {
    Topic { origin: "eqiad".parse().unwrap(), store: "sessions".parse().unwrap() }
}

fn cells() -> CellCache {
    CellCache::of(1 << 20)
}

fn mac() -> MacKey {
    MacKey::derive(b"an index secret")
}

fn key(n: u8) -> KeyId {
    KeyId::from_bytes([n; 16])
}

fn version(n: u64) -> Version {
    Version { hlc: Hlc::from_bits(n), writer: WriterId(1) }
}

fn at(millis: u64) -> Until {
    Until::At(Timestamp::from_millis(millis))
}

fn set(of: u8, n: u64, expires_at: Until) -> Event {
    let sealed = Sealed(Bytes::from_static(b"contents"));
    let change = Change::Set { expires_at, sealed };
    Event {
        key: key(of),
        version: version(n),
        retain_until: Until::Never,
        headers: Headers::default(),
        change,
    }
}

impl Bench {
    fn new() -> Self {
        Self::of_partitions(1)
    }

    fn of_partitions(partitions: u32) -> Self {
        let machine = Arc::new(ManualClock::at(Timestamp::from_millis(1_000)));
        let partitions = PartitionCount::new(partitions).unwrap();
        let incarnation = Incarnation("one".into());
        let log =
            MemoryLog::new(topic(), partitions, incarnation.clone(), Arc::clone(&machine) as Arc<dyn Clock>);
        Self {
            clock: Arc::new(LogClock::new(Arc::clone(&machine) as Arc<dyn Clock>)),
            machine,
            log,
            view: Arc::new(MemoryView::new([(topic(), incarnation)])),
            fence: Arc::new(Fence::default()),
            debts: Arc::new(Debts::new(BTreeMap::new())),
            declared: Arc::new(Declared::new(BTreeMap::new())),
            sums: Arc::default(),
            beacons: Arc::new(Beacons::of(vec![topic()], partitions)),
            metrics: Metrics::register(&Registry::new()).unwrap(),
            observed: Arc::default(),
        }
    }

    fn follower(&self) -> Follower {
        let observed = Arc::clone(&self.observed);
        Follower {
            own: Arc::clone(&self.log) as Arc<dyn EventLog>,
            mirrored: Vec::new(),
            serving: Arc::new(Serving::new(Arc::clone(&self.view) as Arc<dyn View>, cells())),
            successors: mpsc::channel(1).1,
            mac: mac(),
            clock: Arc::clone(&self.clock),
            fence: Arc::clone(&self.fence),
            debts: Arc::clone(&self.debts),
            declared: Arc::clone(&self.declared),
            sums: Arc::clone(&self.sums),
            beacons: Arc::clone(&self.beacons),
            gaps: Arc::new(Gaps::none()),
            lost: watch::Sender::new(None),
            observe: Box::new(move |version| observed.lock().unwrap().push(version)),
            metrics: self.metrics.clone(),
        }
    }

    fn start(&self) -> (tokio::task::JoinHandle<Result<(), FollowError>>, CancellationToken) {
        let stop = CancellationToken::new();
        (tokio::spawn(self.follower().run(stop.clone())), stop)
    }

    fn append(&self, event: &Event) -> Position {
        self.append_to(Partition(0), event)
    }

    fn append_to(&self, partition: Partition, event: &Event) -> Position {
        let sequence = Sequence { appender: WriterId(1), number: 1 };
        let record = Record::of_event(event.clone(), sequence).unwrap();
        self.log.append(partition, mac().sign(&topic(), partition, record)).position
    }

    async fn applied(&self, position: Position) {
        self.fence.wait_for(&topic(), position, SOON).await.unwrap();
    }

    fn state(&self, of: u8) -> Option<State> {
        self.view.get(&key(of)).unwrap().map(|cell| cell.state)
    }
}

/// A view that asks before every write whether it may be.
struct Hooked<F> {
    view: MemoryView,
    may_write: F,
}

/// Over a copy of what `view` holds.
fn hooked<F>(view: &MemoryView, may_write: F) -> Arc<Hooked<F>>
where
    F: Fn(&ViewWrite) -> Result<(), ViewError>,
{
    Arc::new(Hooked { view: MemoryView::from_contents(view.contents()), may_write })
}

/// As if the disk were full for as long as `full` says.
fn without_space_while(full: &Arc<AtomicBool>, view: &MemoryView) -> Arc<impl View + use<>> {
    let full = Arc::clone(full);
    hooked(view, move |_| {
        let no_space = || ViewError::NoSpace("No space left on device".into());
        if full.load(Ordering::SeqCst) { Err(no_space()) } else { Ok(()) }
    })
}

impl<F> fmt::Debug for Hooked<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooked").field("view", &self.view).finish_non_exhaustive()
    }
}

impl<F> View for Hooked<F>
where
    F: Fn(&ViewWrite) -> Result<(), ViewError> + Send + Sync + 'static,
{
    fn get(&self, key: &KeyId) -> Result<Option<Cell>, ViewError> {
        self.view.get(key)
    }
    fn write(&self, write: &ViewWrite) -> Result<(), ViewError> {
        (self.may_write)(write)?;
        self.view.write(write)
    }
    fn saved(&self) -> Result<Saved, ViewError> {
        self.view.saved()
    }
    fn expired(&self, after: Option<KeyId>, gc_now: Timestamp) -> Result<Expired, ViewError> {
        self.view.expired(after, gc_now)
    }
    fn essences(&self, after: Option<KeyId>, bytes: usize) -> Result<Essences, ViewError> {
        self.view.essences(after, bytes)
    }
    fn scan(&self, after: Option<KeyId>, limit: usize) -> Result<Vec<(KeyId, Cell)>, ViewError> {
        self.view.scan(after, limit)
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_appended_can_be_read_when_the_fence_says_so() {
    let bench = Bench::new();
    let (follower, stop) = bench.start();
    bench.append(&set(1, 1, Until::Never));
    let last = bench.append(&set(1, 2, Until::Never));
    bench.applied(last).await;
    assert_eq!(bench.view.version(&key(1)).unwrap(), Some(version(2)));
    assert_eq!(bench.observed.lock().unwrap().last(), Some(&version(2)));
    assert_eq!(bench.view.saved().unwrap().logs[&topic()].frontier.get(Partition(0)), Offset(2));
    stop.cancel();
    follower.await.unwrap().unwrap();
    let too_late =
        bench.fence.wait_for(&topic(), Position { partition: Partition(0), offset: Offset(9) }, SOON).await;
    assert_eq!(too_late, Err(crate::FenceError::Ended));
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_from_the_position_that_was_written_with_the_cells() {
    let mut bench = Bench::new();
    let (follower, stop) = bench.start();
    bench.applied(bench.append(&set(1, 1, Until::Never))).await;
    stop.cancel();
    follower.await.unwrap().unwrap();

    // The stopped follower ended its fence for good; a new process has a new one.
    bench.fence = Arc::new(Fence::default());
    let before = bench.metrics.records_applied.with_label_values(&["sessions"]).get();
    let (_follower, _stop) = bench.start();
    bench.applied(bench.append(&set(2, 2, Until::Never))).await;
    let applied = bench.metrics.records_applied.with_label_values(&["sessions"]).get() - before;
    assert_eq!(applied, 1, "the first record is not read again");
}

#[tokio::test(start_paused = true)]
async fn contents_are_stripped_once_the_logs_time_has_passed_their_end() {
    let bench = Bench::new();
    let (_follower, _stop) = bench.start();
    bench.applied(bench.append(&set(1, 1, at(5_000)))).await;
    bench.applied(bench.append(&set(2, 2, Until::Never))).await;
    bench.clock.anchor(Timestamp::from_millis(1_000), Timestamp::EPOCH);

    // The machine's own clock runs ahead; the log's does not.
    bench.machine.step_to(Timestamp::from_millis(60_000));
    bench.clock.read_now();
    tokio::time::sleep(3 * SWEEP_EVERY).await;
    assert!(matches!(bench.state(1), Some(State::Live { .. })), "nothing is destroyed by this clock alone");

    bench.applied(bench.append(&set(3, 3, Until::Never))).await;
    bench.clock.read_now();
    tokio::time::sleep(3 * SWEEP_EVERY).await;
    assert_eq!(bench.state(1), Some(State::Stripped { expires_at: at(5_000) }));
    assert_eq!(bench.view.version(&key(1)).unwrap(), Some(version(1)));
    assert!(matches!(bench.state(2), Some(State::Live { .. })));
}

/// What a start must not forget: versions, the log's time, what readers were told, and what is owed.
#[tokio::test(start_paused = true)]
async fn a_stop_leaves_the_clocks_marks_and_the_debts_in_the_view() {
    let bench = Bench::new();
    let (follower, stop) = bench.start();
    bench.append(&set(1, 9, Until::Never));
    bench.applied(bench.append(&set(1, 4, Until::Never))).await;
    bench.clock.anchor(Timestamp::from_millis(1_000), Timestamp::EPOCH);
    // Told to a reader after the last batch.
    bench.machine.step_to(Timestamp::from_millis(3_000));
    let told = bench.clock.read_now();
    stop.cancel();
    follower.await.unwrap().unwrap();

    let saved = bench.view.saved().unwrap();
    assert_eq!(saved.marks.newest_version, Some(version(9)));
    assert_eq!(saved.marks.newest_append, Timestamp::from_millis(1_000));
    assert_eq!(saved.marks.read_now, told);
    assert_eq!(saved.debts.keys().collect::<Vec<_>>(), [&key(1)]);
}

/// IMPORTANT in the code: whoever waits at the fence reads the view next.
#[tokio::test(start_paused = true)]
async fn the_fence_moves_after_the_view_was_written() {
    let bench = Bench::new();
    let fence = Arc::clone(&bench.fence);
    let view = hooked(&bench.view, move |write| {
        for (topic, partition, up_to) in &write.positions {
            let last = Position { partition: *partition, offset: Offset(up_to.0 - 1) };
            let passed = fence.wait_for(topic, last, Duration::ZERO).now_or_never();
            assert_ne!(passed, Some(Ok(())), "the fence has moved already");
        }
        Ok(())
    });
    let follower = Follower { serving: Arc::new(Serving::new(view, cells())), ..bench.follower() };
    let stop = CancellationToken::new();
    let follower = tokio::spawn(follower.run(stop.clone()));
    bench.applied(bench.append(&set(1, 1, Until::Never))).await;
    stop.cancel();
    follower.await.expect("the view saw nothing wrong").unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_expired_session_is_stripped_in_the_end_however_many_there_are() {
    let bench = Bench::new();
    let (_follower, _stop) = bench.start();
    let many = 1_500_u64;
    let mut last = None;
    for n in 0..many {
        let mut event = set(1, 1 + n, at(2_000));
        event.key = KeyId::from_bytes(std::array::from_fn(|at| n.to_le_bytes()[at % 8]));
        last = Some(bench.append(&event));
    }
    bench.applied(last.unwrap()).await;
    bench.clock.anchor(Timestamp::from_millis(1_000), Timestamp::EPOCH);
    bench.machine.step_to(Timestamp::from_millis(3_000));
    bench.applied(bench.append(&set(255, 9_999, Until::Never))).await;
    bench.clock.read_now();
    tokio::time::sleep(6 * SWEEP_EVERY).await;
    let contents = bench.view.contents();
    let live = contents.cells.values().filter(|cell| matches!(cell.state, State::Live { .. })).count();
    assert_eq!(live, 1, "of {}", contents.cells.len());
}

#[tokio::test(start_paused = true)]
async fn a_forged_record_is_counted_and_passed_over() {
    let bench = Bench::new();
    let (_follower, _stop) = bench.start();
    let unsigned =
        Record::of_event(set(1, 9, Until::Never), Sequence { appender: WriterId(1), number: 1 }).unwrap();
    bench.log.append(Partition(0), unsigned);
    bench.applied(bench.append(&set(2, 1, Until::Never))).await;
    assert_eq!(bench.state(1), None);
    assert_eq!(bench.metrics.records_refused.with_label_values(&["sessions"]).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_loser_at_the_end_of_the_log_is_owed_until_the_winner_stands_there() {
    let bench = Bench::new();
    let (_follower, _stop) = bench.start();
    bench.append(&set(1, 5, Until::Never));
    bench.applied(bench.append(&set(1, 3, Until::Never))).await;
    assert_eq!(bench.debts.all().len(), 1);
    assert_eq!(bench.view.saved().unwrap().debts.len(), 1, "kept across restarts");
    bench.applied(bench.append(&set(1, 5, Until::Never))).await;
    assert_eq!(bench.debts.count(), 0);
    assert!(bench.view.saved().unwrap().debts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_debt_for_a_cell_that_is_gone_is_forgiven() {
    let bench = Bench::new();
    let owed = BTreeMap::from([(key(7), Some(Timestamp::EPOCH))]);
    bench.view.write(&ViewWrite { debts: owed.clone(), ..ViewWrite::default() }).unwrap();
    bench.debts.take(&owed);
    let (_follower, _stop) = bench.start();
    tokio::time::sleep(2 * SWEEP_EVERY).await;
    assert_eq!(bench.debts.count(), 0);
    assert!(bench.view.saved().unwrap().debts.is_empty());
}

/// The log has lost its end, as a cluster does that elects an unclean leader.
#[tokio::test(start_paused = true)]
async fn a_view_that_is_ahead_of_its_log_stands_still_until_another_one_takes_its_place() {
    let bench = Bench::new();
    bench.append(&set(1, 1, Until::Never));
    let positions = vec![(topic(), Partition(0), Offset(9))];
    bench.view.write(&ViewWrite { positions, ..ViewWrite::default() }).unwrap();
    bench.fence.publish(&topic(), Partition(0), Offset(9));
    let (sender, successors) = mpsc::channel(1);
    let serving = Arc::new(Serving::new(Arc::clone(&bench.view) as Arc<dyn View>, cells()));
    let lost = watch::Sender::new(None);
    let follower =
        Follower { serving: Arc::clone(&serving), successors, lost: lost.clone(), ..bench.follower() };
    let _follower = tokio::spawn(follower.run(CancellationToken::new()));

    let mut is_lost = lost.subscribe();
    let why = is_lost.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert!(why.contains("ends at 1, before the position 9"), "{why}");
    let second = bench.append(&set(2, 2, Until::Never));
    let waited = bench.fence.wait_for(&topic(), second, Duration::from_secs(60)).await;
    assert_eq!(
        waited,
        Err(crate::FenceError::Late),
        "what was applied of another log says nothing of this one"
    );

    let (view, successor, served) =
        successor(MemoryView::new([(topic(), bench.log.incarnation())]).contents());
    sender.send(successor).await.unwrap();
    served.await.unwrap();
    bench.applied(second).await;
    assert!(view.get(&KeyId::from_bytes([2; 16])).unwrap().is_some());
    assert_eq!(*lost.borrow(), None, "the new one goes on");
}

/// A successor at the positions that `contents` has.
fn successor(contents: crate::memory::Contents) -> (Arc<MemoryView>, Successor, oneshot::Receiver<()>) {
    let view = Arc::new(MemoryView::from_contents(contents));
    let (served, is_served) = oneshot::channel();
    (Arc::clone(&view), Successor { view: view as Arc<dyn View>, served }, is_served)
}

#[tokio::test(start_paused = true)]
async fn a_successor_is_served_once_it_holds_all_that_readers_may_have_seen() {
    let bench = Bench::new();
    let serving = Arc::new(Serving::new(Arc::clone(&bench.view) as Arc<dyn View>, cells()));
    let (sender, successors) = mpsc::channel(1);
    let follower = Follower { serving: Arc::clone(&serving), successors, ..bench.follower() };
    let before = bench.view.contents();
    let _follower = tokio::spawn(follower.run(CancellationToken::new()));
    for n in 1..=100 {
        bench.append(&set(u8::try_from(n).unwrap(), n, Until::Never));
    }
    bench.applied(bench.append(&set(1, 500, Until::Never))).await;

    let (next, successor, is_served) = successor(before);
    sender.send(successor).await.unwrap();
    // Appended while the successor is far behind: whoever waits for it must read it.
    let last = bench.append(&set(2, 501, Until::Never));
    bench.applied(last).await;
    assert_eq!(serving.view().version(&key(2)).unwrap(), Some(version(501)));
    is_served.await.unwrap();
    assert_eq!(next.contents().cells, serving_cells(&serving));
    assert_eq!(next.version(&key(1)).unwrap(), Some(version(500)));
    assert_eq!(bench.view.version(&key(2)).unwrap(), Some(version(2)), "the one before stands still");
}

fn serving_cells(serving: &Serving) -> BTreeMap<KeyId, Cell> {
    serving.view().view().scan(None, 1_000).unwrap().into_iter().collect()
}

#[tokio::test(start_paused = true)]
async fn a_successor_brings_its_own_debts() {
    let bench = Bench::new();
    let serving = Arc::new(Serving::new(Arc::clone(&bench.view) as Arc<dyn View>, cells()));
    let (sender, successors) = mpsc::channel(1);
    let follower = Follower { serving, successors, ..bench.follower() };
    let _follower = tokio::spawn(follower.run(CancellationToken::new()));
    bench.append(&set(1, 5, Until::Never));
    bench.applied(bench.append(&set(1, 4, Until::Never))).await;
    assert_eq!(bench.debts.count(), 1);

    // Of a log whose loser was dropped.
    let mut contents = bench.view.contents();
    contents.saved.debts = BTreeMap::from([(key(9), Timestamp::EPOCH)]);
    contents.cells.insert(key(9), Cell::of(set(9, 1, Until::Never)));
    let (_, successor, is_served) = successor(contents);
    sender.send(successor).await.unwrap();
    is_served.await.unwrap();
    let owed: Vec<_> = bench.debts.all().into_iter().map(|(key, _)| key).collect();
    assert_eq!(owed, [key(9)]);
    bench.applied(bench.append(&set(9, 2, Until::Never))).await;
    assert_eq!(bench.debts.count(), 0, "and they are paid like any other");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_of_what_only_the_successor_holds_while_the_one_before_is_read() {
    let bench = Bench::of_partitions(3);
    let serving = Arc::new(Serving::new(Arc::clone(&bench.view) as Arc<dyn View>, cells()));
    let (sender, successors) = mpsc::channel(1);
    let follower = Follower { serving: Arc::clone(&serving), successors, ..bench.follower() };
    // Sees at every write whether the fence speaks of `new`, which is not in the view that is served.
    let (new, released) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(Vec::new())));
    let next = {
        let (fence, new, released) = (Arc::clone(&bench.fence), Arc::clone(&new), Arc::clone(&released));
        hooked(&bench.view, move |_| {
            if let Some(new) = *new.lock().unwrap() {
                let waiting = fence.wait_for(&topic(), new, Duration::ZERO).now_or_never();
                released.lock().unwrap().push(waiting == Some(Ok(())));
            }
            Ok(())
        })
    };
    let _follower = tokio::spawn(follower.run(CancellationToken::new()));
    for partition in 0..3 {
        let event = set(u8::try_from(partition).unwrap(), 1, Until::Never);
        bench.applied(bench.append_to(Partition(partition), &event)).await;
    }
    let (served, is_served) = oneshot::channel();
    sender.try_send(Successor { view: next, served }).unwrap();
    // The successor meets it in its first batch, long before it has seen the other partitions.
    *new.lock().unwrap() = Some(bench.append_to(Partition(0), &set(0, 9, Until::Never)));
    is_served.await.unwrap();
    assert_eq!(*released.lock().unwrap(), [false, false, false]);
    assert_eq!(serving.view().version(&key(0)).unwrap(), Some(version(9)));
}

#[tokio::test(start_paused = true)]
async fn a_view_without_space_stands_still_says_so_and_leaves_nothing_out() {
    let bench = Bench::new();
    let full = Arc::new(AtomicBool::new(true));
    let view = without_space_while(&full, &bench.view);
    let serving = Arc::new(Serving::new(Arc::clone(&view) as Arc<dyn View>, cells()));
    let follower = Follower { serving, ..bench.follower() };
    let stop = CancellationToken::new();
    let follower = tokio::spawn(follower.run(stop.clone()));
    let appended: Vec<_> = (1..=3).map(|of| bench.append(&set(of, of.into(), Until::Never))).collect();
    let late = bench.fence.wait_for(&topic(), appended[0], SOON).await;
    assert_eq!(late, Err(crate::FenceError::Late));
    assert!(bench.fence.stands_still_because().is_some_and(|why| why.contains("no space")));
    assert_eq!(view.version(&key(1)).unwrap(), None, "and it is read");

    full.store(false, Ordering::SeqCst);
    for position in appended {
        bench.applied(position).await;
    }
    assert_eq!(bench.fence.stands_still_because(), None);
    assert!((1..=3).all(|of| view.version(&key(of)).unwrap() == Some(version(of.into()))));

    // An order to stop is heard while it stands still.
    full.store(true, Ordering::SeqCst);
    bench.append(&set(4, 4, Until::Never));
    tokio::time::sleep(SOON).await;
    stop.cancel();
    follower.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_finds_no_space_miscounts_nobody() {
    let bench = Bench::new();
    let full = Arc::new(AtomicBool::new(false));
    let view = without_space_while(&full, &bench.view);
    let serving = Arc::new(Serving::new(Arc::clone(&view) as Arc<dyn View>, cells()));
    let _follower = tokio::spawn(Follower { serving, ..bench.follower() }.run(CancellationToken::new()));
    let live = || bench.metrics.live_sessions.with_label_values(&["sessions"]).get();
    let is_stripped = |of| matches!(view.get(&key(of)).unwrap().unwrap().state, State::Stripped { .. });
    // Two that end in the same minute.
    bench.applied(bench.append(&set(1, 1, at(5_000)))).await;
    bench.applied(bench.append(&set(2, 2, at(50_000)))).await;
    bench.clock.anchor(Timestamp::from_millis(1_000), Timestamp::EPOCH);
    bench.machine.step_to(Timestamp::from_millis(10_000));
    bench.applied(bench.append(&set(3, 3, Until::Never))).await;
    bench.clock.read_now();

    full.store(true, Ordering::SeqCst);
    tokio::time::sleep(3 * SWEEP_EVERY).await;
    assert!(!is_stripped(1));
    full.store(false, Ordering::SeqCst);
    tokio::time::sleep(2 * SWEEP_EVERY).await;
    assert!(is_stripped(1));
    assert!((2..=3).contains(&live()), "to the minute: {}", live());

    bench.machine.step_to(Timestamp::from_millis(70_000));
    bench.applied(bench.append(&set(4, 4, Until::Never))).await;
    bench.clock.read_now();
    tokio::time::sleep(2 * SWEEP_EVERY).await;
    assert!(is_stripped(2));
    assert_eq!(live(), 2);
}

#[tokio::test]
async fn whoever_waits_at_the_fence_sees_what_was_declared_before() {
    let bench = Bench::new();
    let (task, stop) = bench.start();
    let codfw: schemas::Dc = "codfw".parse().unwrap();
    for (n, state) in [(1, DcState::Down), (2, DcState::Up), (3, DcState::Down)] {
        let declaration = Declaration { dc: codfw.clone(), state, id: version(n) };
        let record = Record::of_declaration(&declaration, None).unwrap();
        let position = bench.log.append(Partition(0), mac().sign(&topic(), Partition(0), record)).position;
        bench.applied(position).await;
        let is_down = bench.declared.down_in(&topic(), Partition(0)).contains(&codfw);
        assert_eq!(is_down, state == DcState::Down);
    }
    stop.cancel();
    task.await.unwrap().unwrap();
    let saved = Declared::new(bench.view.saved().unwrap().declared);
    assert_eq!(saved.all(), bench.declared.all(), "and so does the next start");
}

/// What a look at all cells says.
fn looked_at(view: &dyn View, gc_now: Timestamp) -> Option<Summed> {
    let cells: Vec<_> = view.scan(None, 10_000).unwrap();
    let cells: Vec<_> = cells.iter().map(|(key, cell)| Essence::of(*key, cell)).collect();
    let sums = Sums::default();
    sums.count(gc_now, &cells, None);
    sums.at(Hour::default(), gc_now)
}

#[tokio::test(start_paused = true)]
async fn the_sums_are_those_of_the_view_after_a_start_over_cells_and_under_a_successor() {
    let bench = Bench::new();
    // More than are counted at a time, so that events come in between.
    let cells = (0..2_000_u64).map(|n| {
        let mut id = [u8::try_from(n % 251).unwrap(); 16];
        id[8..].copy_from_slice(&n.to_be_bytes());
        (KeyId::from_bytes(id), Cell::of(set(1, n + 1, Until::Never)))
    });
    let cells: BTreeMap<_, _> = cells.collect();
    bench.view.write(&ViewWrite { cells, ..ViewWrite::default() }).unwrap();
    let before = bench.view.contents();
    let serving = Arc::new(Serving::new(Arc::clone(&bench.view) as Arc<dyn View>, self::cells()));
    let (sender, successors) = mpsc::channel(1);
    let follower = Follower { serving: Arc::clone(&serving), successors, ..bench.follower() };
    let _follower = tokio::spawn(follower.run(CancellationToken::new()));
    let said = || bench.sums.at(Hour::default(), bench.clock.gc_now());
    for n in 0..=255 {
        bench.applied(bench.append(&set(n, 5_000 + u64::from(n), at(9)))).await;
        if n == 2 {
            assert!(said().is_none(), "not all are counted yet");
        }
        tokio::time::sleep(COUNT_EVERY / 10).await;
    }
    let counted = || async {
        while said().is_none() {
            tokio::time::sleep(COUNT_EVERY).await;
        }
    };
    counted().await;
    assert_eq!(said(), looked_at(serving.view().view(), bench.clock.gc_now()));

    let (_, successor, is_served) = successor(before);
    sender.send(successor).await.unwrap();
    is_served.await.unwrap();
    counted().await;
    bench.applied(bench.append(&set(3, 9_000, at(9)))).await;
    assert_eq!(said(), looked_at(serving.view().view(), bench.clock.gc_now()));
    assert!(2_000 < said().unwrap().cells);
}

#[tokio::test(start_paused = true)]
async fn a_beacon_is_reached_when_it_is_applied_with_all_before_it() {
    let bench = Bench::new();
    let (_follower, _stop) = bench.start();
    bench.append(&set(1, 1, Until::Never));
    let missing = || bench.beacons.missing(Beacon(7));
    tokio::time::sleep(SWEEP_EVERY).await;
    assert_eq!(missing(), [topic()]);
    let record = Record::of_beacon(WriterId(1), &Heartbeat::default(), Beacon(7));
    bench.log.append(Partition(0), mac().sign(&topic(), Partition(0), record));
    bench.beacons.wait_for(Beacon(7)).await;
    assert_eq!(missing(), []);
    assert_eq!(bench.view.version(&key(1)).unwrap(), Some(version(1)));
}
