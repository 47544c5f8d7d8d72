//! Clients at work while something fails.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::{
    chaos::{KEYS, Writer},
    harness::{Connection, message},
};

const WRITERS: u64 = 4;

/// A session that nobody writes again.
pub(super) const PINNED: &str = "/sessions/v1/pinned";

/// Writers with keys of their own that check every answer, and a reader of [`PINNED`], until they are stopped.
#[derive(Debug)]
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Writer>>,
    reader: JoinHandle<Reads>,
}

/// What a reader met.
#[derive(Debug, Default)]
pub(super) struct Reads {
    pub(super) found: usize,
    /// Answers that were none, or not the session.
    pub(super) failed: Vec<String>,
}

impl Load {
    /// Begins; `first` tells the keys of this load from those of another.
    pub(super) fn begin(address: SocketAddr, first: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let writers = (first..first + WRITERS).map(|n| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || Writer::new(n, address).run(&stop))
        });
        let writers = writers.collect();
        let reader = {
            let stop = Arc::clone(&stop);
            thread::spawn(move || read_pinned(address, &stop))
        };
        Self { stop, writers, reader }
    }

    /// Ends it: the writers, who know what every key may hold, and what the reader met.
    pub(super) fn end(self) -> (Vec<Writer>, Reads) {
        self.stop.store(true, Ordering::Relaxed);
        let writers =
            self.writers.into_iter().map(|writer| writer.join().expect("a writer saw what must not be"));
        (writers.collect(), self.reader.join().expect("the reader does not panic"))
    }
}

/// Reads every key of every writer, and checks that it holds what it may. Returns how many changes were acknowledged.
pub(super) fn check_all(writers: &mut [Writer]) -> usize {
    for writer in writers.iter_mut() {
        let before = writer.read;
        (0..KEYS).for_each(|key| writer.read(key));
        // A first request on a connection that died with another process finds that out.
        assert!(before + KEYS <= writer.read + 1, "all keys can be read");
    }
    writers.iter().map(|writer| writer.acknowledged).sum()
}

fn read_pinned(address: SocketAddr, stop: &AtomicBool) -> Reads {
    let (mut reads, mut connection) = (Reads::default(), None);
    while !stop.load(Ordering::Relaxed) {
        if connection.is_none() {
            connection = Connection::open(address).ok();
        }
        let asked =
            connection.as_mut().map(|open: &mut Connection| open.exchange(message("GET", PINNED, &[], b"")));
        match asked {
            Some(Ok(answer)) if answer.status == 200 && answer.text() == "pinned" => reads.found += 1,
            Some(Ok(answer)) => reads.failed.push(answer.everything()),
            Some(Err(error)) => {
                reads.failed.push(error.to_string());
                connection = None;
            }
            None => reads.failed.push("nobody listens".to_owned()),
        }
        // Neither a flood nor a wait for anything: a client that comes by every few milliseconds.
        thread::park_timeout(std::time::Duration::from_millis(2));
    }
    reads
}
