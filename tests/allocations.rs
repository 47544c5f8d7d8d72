//! How often a request asks for memory, from the first byte of its head to the last of its answer.
//!
//! The server runs in this process, on the thread of the test, over a real socket, on a real log and view; the client is
//! on the same thread and allocates nothing. What log and follower do on their own threads does not count.

use std::sync::Arc;

use api::{
    AnswerRoom, App, Backend, BodyRoom, DiskRoom, Jobs, Limits, Readiness, RingSecret, Sealer, Secret, Stores,
};
use eventlog::{
    Clock, EventLog, Incarnation, LogClock, SystemClock,
    embedded::{EmbeddedLog, EmbeddedOptions},
};
use materializer::{
    View,
    sessions::{SessionView, ViewMemory, ViewOptions},
};
use prometheus::Registry;
use schemas::{MacKey, PartitionCount, SessionTtl, Topic, WriterId};
use server::{
    config::ReadConsistency,
    store::{Parts, StoreNode},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_util::sync::CancellationToken;
use writer::Retention;

/// What issue after issue may not raise: the fewer, the less a request costs on a busy machine.
const GET_AT_MOST: u64 = 12;
const POST_AT_MOST: u64 = 20;

const BODY_BYTES: usize = 2048;

async fn store(dir: &std::path::Path, registry: &Registry) -> (StoreNode, CancellationToken) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let topic = Topic { origin: "eqiad".parse().unwrap(), store: "sessions".parse().unwrap() };
    let options = EmbeddedOptions {
        topic: topic.clone(),
        partitions: PartitionCount::new(4).unwrap(),
        incarnation_if_new: Incarnation("one".into()),
        clock: Arc::clone(&clock),
    };
    let log = EmbeddedLog::open(&dir.join("log"), options).unwrap();
    let log_clock = Arc::new(LogClock::new(clock));
    let memory = ViewMemory::of(64 << 20);
    let logs = vec![(topic, log.incarnation())];
    let options = ViewOptions { memory: &memory, clock: Arc::clone(&log_clock), logs };
    let parts = Parts {
        own: log,
        mirrored: Vec::new(),
        view: Arc::new(SessionView::open(&dir.join("view"), options).unwrap()) as Arc<dyn View>,
        cells: memory.cells.clone(),
        clock: log_clock,
        mac: MacKey::derive(&[7; 32]),
        retention: Retention::Expiring { ttl_max: std::time::Duration::from_secs(3600) },
        writer_id: WriterId(1),
        read_consistency: ReadConsistency::Node,
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
    (store, stop)
}

fn app(store: &StoreNode, registry: &Registry) -> App {
    let secret = || Secret::new(vec![7; 32].into()).unwrap();
    let ring = [RingSecret { id: 1, secret: secret() }];
    let name: schemas::StoreName = "sessions".parse().unwrap();
    let sealer = Sealer::new(name.clone(), &secret(), &ring, 1 << 20).unwrap();
    let hour = SessionTtl::from_seconds(3600);
    let served = api::Store::new(name, "/sessions/v1/", hour, hour, 1 << 20, sealer);
    served.open(Backend { writer: Arc::clone(&store.writer), reads: Arc::clone(&store.reads) });
    let readiness = Arc::new(Readiness::default());
    readiness.latch("store sessions", "opening").release();
    let build = api::BuildInfo { version: "0", build_date: "", build_host: "", go_version: "" };
    App {
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
        jobs: Jobs::new().0,
        salt: || rand::random(),
        openapi: "".into(),
    }
}

/// One request and its answer, without a byte of memory of its own.
async fn exchange(stream: &mut TcpStream, request: &[u8], answer: &mut [u8]) -> usize {
    stream.write_all(request).await.unwrap();
    let mut filled = 0;
    loop {
        filled += stream.read(&mut answer[filled..]).await.unwrap();
        let head = answer[..filled].windows(4).position(|window| window == b"\r\n\r\n");
        let Some(head) = head else { continue };
        let mut headers = answer[..head].split(|&byte| byte == b'\n');
        let length = headers.find_map(|line| line.strip_prefix(b"content-length: "));
        let length = length.map_or(0, |digits| {
            digits
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .fold(0, |n, byte| n * 10 + usize::from(byte - b'0'))
        });
        if head + 4 + length <= filled {
            return filled;
        }
    }
}

/// Allocations of one request, as the median of many: buffers that grow now and then belong to nobody.
fn allocations(runtime: &Runtime, stream: &mut TcpStream, request: &[u8], status: &[u8]) -> u64 {
    let mut answer = vec![0; 8192];
    let mut counts = Vec::new();
    for _ in 0..200 {
        let mut bytes = 0;
        let counted = allocation_counter::measure(|| {
            bytes = runtime.block_on(exchange(stream, request, &mut answer));
        });
        assert!(answer[..bytes].starts_with(status), "{}", answer[..bytes.min(500)].escape_ascii());
        counts.push(counted.count_total);
    }
    counts.sort_unstable();
    counts[counts.len() / 2]
}

#[test]
fn a_request_asks_for_memory_only_so_often() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (store, stop) = runtime.block_on(store(dir.path(), &registry));
    let app = app(&store, &registry);
    let mut stream = runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(api::serve(listener, None, api::routes(app), 10, CancellationToken::new()));
        TcpStream::connect(address).await.unwrap()
    });

    let key = "enwiki:MWSession:0123456789abcdef0123456789abcdef";
    let head = format!("/sessions/v1/{key} HTTP/1.1\r\nHost: sessions\r\nUser-Agent: MediaWiki\r\n");
    // Random, as what is sealed is: it does not compress.
    let body: Vec<u8> = (0..BODY_BYTES).map(|_| rand::random()).collect();
    let post = [format!("POST {head}Content-Length: {BODY_BYTES}\r\n\r\n").as_bytes(), &body].concat();
    let get = format!("GET {head}\r\n");

    let post = allocations(&runtime, &mut stream, &post, b"HTTP/1.1 201");
    let get = allocations(&runtime, &mut stream, get.as_bytes(), b"HTTP/1.1 200");
    println!("allocations: {get} for a GET that finds, {post} for a POST");
    stop.cancel();
    assert!(get <= GET_AT_MOST, "{get} for a GET");
    assert!(post <= POST_AT_MOST, "{post} for a POST");
}
