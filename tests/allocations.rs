//! How often a request asks for memory, from the first byte of its head to the last of its answer.
//!
//! The server runs in this process, on the thread of the test, over a real socket, on a real log and view; the client is
//! on the same thread and allocates nothing. What log and follower do on their own threads does not count.

use api::{Access, Client, Scope, TokenHash};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
};

use crate::in_process::{self, Cells, InProcess, answer_bytes};

/// What issue after issue may not raise: the fewer, the less a request costs on a busy machine.
const GET_AT_MOST: u64 = 12;
const POST_AT_MOST: u64 = 20;

/// One request and its answer, without a byte of memory of its own.
async fn exchange(stream: &mut TcpStream, request: &[u8], answer: &mut [u8]) -> usize {
    stream.write_all(request).await.unwrap();
    let mut filled = 0;
    loop {
        filled += stream.read(&mut answer[filled..]).await.unwrap();
        if answer_bytes(&answer[..filled]).is_some() {
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = runtime.block_on(InProcess::open(dir.path(), Cells::Kept));
    let mut stream = runtime.block_on(store.connect());

    let key = "enwiki:MWSession:0123456789abcdef0123456789abcdef";
    let (post, get) = (in_process::post(key), in_process::get(key));
    let post = allocations(&runtime, &mut stream, &post, b"HTTP/1.1 201");
    let get = allocations(&runtime, &mut stream, &get, b"HTTP/1.1 200");
    println!("allocations: {get} for a GET that finds, {post} for a POST");
    assert!(get <= GET_AT_MOST, "{get} for a GET");
    assert!(post <= POST_AT_MOST, "{post} for a POST");
}

/// The request with a token that `access` knows.
fn with_token(request: &[u8]) -> Vec<u8> {
    let line = request.windows(2).position(|window| window == b"\r\n").unwrap() + 2;
    [&request[..line], b"Authorization: Bearer 0123456789abcdef\r\n", &request[line..]].concat()
}

fn access() -> Access {
    let scopes = vec![Scope::Read, Scope::Write, Scope::Delete];
    Access::of(vec![Client {
        name: "wiki".parse().unwrap(),
        tokens: vec![TokenHash::of(b"another"), TokenHash::of(b"0123456789abcdef")],
        tls_names: Vec::new(),
        stores: vec![("sessions".parse().unwrap(), scopes)],
        role: None,
    }])
}

#[test]
fn to_ask_who_asks_takes_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut store = runtime.block_on(InProcess::open(dir.path(), Cells::Kept));
    let key = "enwiki:MWSession:0123456789abcdef0123456789abcdef";
    let (post, get) = (with_token(&in_process::post(key)), with_token(&in_process::get(key)));
    let measure = |stream: &mut TcpStream| {
        let posted = allocations(&runtime, stream, &post, b"HTTP/1.1 201");
        (posted, allocations(&runtime, stream, &get, b"HTTP/1.1 200"))
    };
    // A POST that meets the log's thread asking for something takes a little more.
    let least = |stream: &mut TcpStream| (0..3).map(|_| measure(stream)).min().expect("three");
    let open = least(&mut runtime.block_on(store.connect()));
    store.guard_by(access());
    let guarded = least(&mut runtime.block_on(store.connect()));
    println!("allocations of a POST and a GET: {open:?} for everybody, {guarded:?} for who is known");
    assert_eq!(guarded, open);
}
