//! A store and its HTTP service in this process: a real log, a real view and a real socket, and no other thread between
//! a request and what it costs.
//!
//! Requests are served wherever the caller's runtime runs; log and follower have threads of their own.

#![allow(dead_code, reason = "the tests use less of it than the counting of instructions")]

use std::{path::Path, sync::Arc};

use api::{
    Access, AnswerRoom, App, BodyBytes, BodyRoom, Comparisons, Dcs, DiskRoom, Jobs, Lanes, Limits, Rates,
    Readiness, Ring, RingSecret, Rules, Sealer, Secret, Stores, admin::Counting,
};
use eventlog::{
    Clock, EventLog, Incarnation, LogClock, SystemClock,
    embedded::{EmbeddedLog, EmbeddedOptions},
};
use materializer::{
    CellCache, View,
    sessions::{SessionView, ViewMemory, ViewOptions},
};
use prometheus::Registry;
use rand::{Rng, SeedableRng, rngs::StdRng};
use schemas::{MacKey, PartitionCount, SessionTtl, Topic, WriterId};
use server::{
    config::ReadConsistency,
    store::{Parts, StoreNode},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use writer::Retention;

/// A session of MediaWiki, as most are.
const BODY_BYTES: usize = 2048;

/// Memory for the view, cells and blocks: everything that is asked for fits.
const MEMORY_BYTES: usize = 64 << 20;

/// How many connections are served at a time.
const CONNECTIONS_MAX: usize = 10;

/// What keeps cells of the view in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cells {
    /// Everything that was read or written lately is found there.
    Kept,
    /// Nothing is: every read asks RocksDB.
    Forgotten,
}

/// One store, open. Its follower stops when this goes.
#[derive(Debug)]
pub(crate) struct InProcess {
    pub(crate) store: StoreNode,
    pub(crate) view: Arc<SessionView>,
    app: App,
    stop: CancellationToken,
}

impl InProcess {
    /// A new store in `dir`.
    pub(crate) async fn open(dir: &Path, cells: Cells) -> Self {
        let registry = Registry::new();
        let (store, view, stop) = store(dir, cells, &registry).await;
        let app = app(&store, &registry);
        Self { store, view, app, stop }
    }

    /// Serves those alone who are named here.
    pub(crate) fn guard_by(&mut self, access: Access) {
        self.app.access = Some(Arc::new(access));
    }

    /// A connection to it, served on the runtime of the caller.
    pub(crate) async fn connect(&self) -> TcpStream {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = api::routes(self.app.clone());
        tokio::spawn(api::serve(
            listener,
            None,
            routes,
            CONNECTIONS_MAX,
            Lanes::here(),
            CancellationToken::new(),
        ));
        TcpStream::connect(address).await.unwrap()
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A GET of the session `key`, with the headers that MediaWiki sends.
pub(crate) fn get(key: &str) -> Vec<u8> {
    format!("GET {}\r\n", head(key)).into_bytes()
}

/// A POST to the session `key`, likewise.
pub(crate) fn post(key: &str) -> Vec<u8> {
    let body = noise(key.bytes().fold(0_u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into())));
    [format!("POST {}Content-Length: {BODY_BYTES}\r\n\r\n", head(key)).as_bytes(), &body].concat()
}

/// Does not compress, as if it were sealed already, and is the same every time.
pub(crate) fn noise(seed: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..BODY_BYTES).map(|_| random.random()).collect()
}

fn head(key: &str) -> String {
    format!("/sessions/v1/{key} HTTP/1.1\r\nHost: sessions\r\nUser-Agent: MediaWiki\r\n")
}

/// The bytes that the first answer in `answer` takes, once all of them are there.
pub(crate) fn answer_bytes(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let mut headers = answer[..head].split(|&byte| byte == b'\n');
    let length = headers.find_map(|line| line.strip_prefix(b"content-length: "));
    let length = length.map_or(0, |digits| {
        digits
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .fold(0, |n, byte| n * 10 + usize::from(byte - b'0'))
    });
    let bytes = head + 4 + length;
    (bytes <= answer.len()).then_some(bytes)
}

async fn store(
    dir: &Path,
    cells: Cells,
    registry: &Registry,
) -> (StoreNode, Arc<SessionView>, CancellationToken) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let topic = Topic { origin: "eqiad".parse().unwrap(), store: "sessions".parse().unwrap() };
    let options = EmbeddedOptions {
        topic: topic.clone(),
        partitions: PartitionCount::new(4).unwrap(),
        incarnation_if_new: Incarnation("one".into()),
        clock: Arc::clone(&clock),
        has_room: Box::new(|| true),
    };
    let log = EmbeddedLog::open(&dir.join("log"), options).unwrap();
    let log_clock = Arc::new(LogClock::new(clock));
    let memory = ViewMemory::of(MEMORY_BYTES);
    let logs = vec![(topic, log.incarnation())];
    let options = ViewOptions { memory: &memory, clock: Arc::clone(&log_clock), logs };
    let view = Arc::new(SessionView::open(&dir.join("view"), options).unwrap());
    let parts = Parts {
        own: log,
        mirrored: Vec::new(),
        view: Arc::clone(&view) as Arc<dyn View>,
        cells: match cells {
            Cells::Kept => memory.cells.clone(),
            Cells::Forgotten => CellCache::of(0),
        },
        clock: log_clock,
        mac: MacKey::derive(&[7; 32]),
        retention: Retention::Expiring { ttl_max: std::time::Duration::from_secs(3600) },
        writer_id: WriterId(1),
        peers: Vec::new(),
        read_consistency: ReadConsistency::Node,
        max_ttl: SessionTtl::from_seconds(3600),
        serve_in_outage_for: std::time::Duration::ZERO,
        gaps: Arc::new(materializer::Gaps::none()),
        counted: materializer::Metrics::register(registry).unwrap(),
        measured: writer::Metrics::register(registry).unwrap(),
    };
    let (store, follower) = StoreNode::assemble(parts).unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(follower.run(stopped)).unwrap();
    });
    store.come_up().await.unwrap();
    (store, view, stop)
}

/// A store `sessions` that is not open yet, and the ring that it seals with.
pub(crate) fn unopened() -> (api::Store, Arc<Ring>) {
    let secret = || Secret::new(vec![7; 32].into()).unwrap();
    let ring = [RingSecret { id: 1, secret: secret() }];
    let name: schemas::StoreName = "sessions".parse().unwrap();
    let ring = Arc::new(Ring::of(&ring).unwrap());
    let bytes = BodyBytes { max: 1 << 20, compress_above: 512 };
    let sealer = Sealer::new(name.clone(), &secret(), Arc::clone(&ring), bytes);
    let hour = SessionTtl::from_seconds(3600);
    let rules = Rules {
        base_uri: "/sessions/v1/".into(),
        default_ttl: hour,
        max_ttl: hour,
        value_bytes_max: 1 << 20,
        takes_put: false,
        rates: Rates::default(),
    };
    (api::Store::new(name, rules, sealer), ring)
}

fn app(store: &StoreNode, registry: &Registry) -> App {
    let (served, ring) = unopened();
    served.open(store.backend());
    let readiness = Arc::new(Readiness::default());
    readiness.latch("store sessions", "opening").release();
    let build = api::BuildInfo { version: "0", build_date: "", build_host: "", go_version: "" };
    App {
        access: None,
        ring,
        counting: Counting::default(),
        stores: Arc::new(Stores::new(vec![served])),
        readiness,
        metrics: api::Metrics::register(registry, &build).unwrap(),
        registry: registry.clone(),
        build,
        limits: Limits {
            key_bytes_max: 1024,
            request_timeout: std::time::Duration::from_secs(10),
            read_patience: std::time::Duration::from_secs(5),
        },
        body_room: BodyRoom::of(16 << 20),
        answer_room: AnswerRoom::of(16 << 20),
        disk_room: DiskRoom::default(),
        dcs: Dcs { us: "eqiad".parse().unwrap(), peers: Arc::new([]) },
        jobs: Jobs::new().0,
        comparisons: Comparisons::new().0,
        salt: || rand::random(),
        openapi: "".into(),
    }
}
