//! Threads that serve connections, each with a runtime of its own.
//!
//! A connection stays on the thread that it was given to, with all that it waits for. A runtime that moves tasks between
//! threads wakes one for what another could have done at once, and shares its queues and timers among them. What is paid
//! for that: a read that waits for the disk holds up the other connections of its thread.

use std::{io, num::NonZero, thread};

use tokio::runtime::{Builder, Handle};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// Where the connections of a listener are served.
#[derive(Debug)]
pub struct Lanes {
    lanes: Vec<Lane>,
    /// Ends the threads, if there are any.
    _threads: Option<DropGuard>,
}

/// One thread, or whatever else a runtime runs on.
#[derive(Debug)]
struct Lane {
    runtime: Handle,
    connections: TaskTracker,
}

impl Lanes {
    /// On so many threads, which end when this is dropped.
    ///
    /// # Errors
    /// When the system has no threads or file descriptors for them.
    pub fn start(threads: NonZero<usize>) -> io::Result<Self> {
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let lane = |n| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let lane = Lane { runtime: runtime.handle().clone(), connections: TaskTracker::new() };
            let ended = ended.clone();
            let serve = move || runtime.block_on(ended.cancelled());
            thread::Builder::new().name(format!("connections-{n}")).spawn(serve)?;
            Ok(lane)
        };
        let lanes = (0..threads.get()).map(lane).collect::<io::Result<_>>()?;
        Ok(Self { lanes, _threads: Some(guard) })
    }

    /// On the runtime of the caller.
    ///
    /// # Panics
    /// When there is none.
    pub fn here() -> Self {
        let lane = Lane { runtime: Handle::current(), connections: TaskTracker::new() };
        Self { lanes: vec![lane], _threads: None }
    }

    /// Serves a connection where there are fewest.
    pub(crate) fn spawn(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let lane =
            self.lanes.iter().min_by_key(|lane| lane.connections.len()).expect("there is one at least");
        lane.connections.spawn_on(connection, &lane.runtime);
    }

    /// Waits for the end of all connections.
    pub(crate) async fn wait(&self) {
        for lane in &self.lanes {
            lane.connections.close();
            lane.connections.wait().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::mpsc};

    use tokio::sync::watch;

    use super::*;

    fn threads(count: usize) -> Lanes {
        Lanes::start(NonZero::new(count).expect("not zero")).expect("there are threads")
    }

    #[tokio::test]
    async fn connections_are_spread_over_threads_and_stay_where_they_are() {
        let lanes = threads(3);
        let (go_on, gate) = watch::channel(false);
        let (sender, receiver) = mpsc::channel();
        for n in 0..12 {
            let (mut gate, sender) = (gate.clone(), sender.clone());
            lanes.spawn(async move {
                let began = thread::current().id();
                gate.wait_for(|open| *open).await.expect("somebody opens it");
                sender.send((n, began, thread::current().id())).expect("somebody listens");
            });
        }
        go_on.send_replace(true);
        lanes.wait().await;
        let mut served = BTreeMap::new();
        for (_, began, ended) in receiver.try_iter() {
            assert_eq!(began, ended);
            *served.entry(format!("{began:?}")).or_insert(0) += 1;
        }
        assert_eq!(served.into_values().collect::<Vec<_>>(), [4, 4, 4]);
    }

    #[tokio::test]
    async fn the_next_goes_where_one_has_ended() {
        let lanes = threads(2);
        let (_go_on, gate) = watch::channel(false);
        let waits = |mut gate: watch::Receiver<bool>| async move {
            let _ended = gate.wait_for(|open| *open).await;
        };
        let (ends, gone) = watch::channel(false);
        lanes.spawn(waits(gone));
        lanes.spawn(waits(gate.clone()));
        let first = lanes.lanes[0].connections.clone();
        drop(ends);
        first.close();
        first.wait().await;
        first.reopen();
        lanes.spawn(waits(gate));
        assert_eq!(lanes.lanes.iter().map(|lane| lane.connections.len()).collect::<Vec<_>>(), [1, 1]);
    }

    #[tokio::test]
    async fn the_threads_end_with_it() {
        struct SaysWhenItGoes(mpsc::Sender<()>);
        impl Drop for SaysWhenItGoes {
            fn drop(&mut self) {
                self.0.send(()).expect("somebody listens");
            }
        }
        let lanes = threads(1);
        let (sender, receiver) = mpsc::channel();
        let held = SaysWhenItGoes(sender);
        lanes.spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(lanes);
        receiver.recv_timeout(std::time::Duration::from_secs(10)).expect("its runtime drops what it served");
    }
}
