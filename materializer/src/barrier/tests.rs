use std::sync::{Mutex as StdMutex, PoisonError};

use eventlog::{Batch, Commit, EnqueueError, Incarnation};
use futures::{FutureExt, future::BoxFuture, stream::BoxStream};
use schemas::{PartitionCount, Record, Topic};
use tokio::sync::Semaphore;

use super::*;

/// A log that answers a query for its tail when it is let, with what the tail is then.
#[derive(Debug)]
struct SlowTail {
    topic: Topic,
    tail: StdMutex<u64>,
    answers: Semaphore,
}

impl SlowTail {
    fn new() -> Arc<Self> {
        let topic = Topic { origin: "eqiad".parse().unwrap(), store: "sessions".parse().unwrap() };
        Arc::new(Self { topic, tail: StdMutex::new(0), answers: Semaphore::new(0) })
    }

    fn grow_to(&self, tail: u64) {
        *self.tail.lock().unwrap_or_else(PoisonError::into_inner) = tail;
    }
}

impl EventLog for SlowTail {
    fn topic(&self) -> &Topic {
        &self.topic
    }

    fn partitions(&self) -> PartitionCount {
        PartitionCount::new(1).unwrap()
    }

    fn incarnation(&self) -> Incarnation {
        Incarnation("slow".into())
    }

    fn enqueue(&self, _: Partition, _: Record) -> Result<Commit, EnqueueError> {
        unreachable!("a barrier does not write")
    }

    fn read(self: Arc<Self>, _: Frontier) -> BoxStream<'static, Result<Batch, ReadError>> {
        unreachable!("a barrier does not read")
    }

    fn tail(&self) -> BoxFuture<'_, Result<Frontier, ReadError>> {
        async {
            // The tail is what it was when the query was sent: the stalest honest answer.
            let tail = *self.tail.lock().unwrap();
            self.answers.acquire().await.unwrap().forget();
            Ok(Frontier::from_iter([(Partition(0), Offset(tail))]))
        }
        .boxed()
    }
}

const PATIENCE: Duration = Duration::from_secs(1);

struct Bench {
    log: Arc<SlowTail>,
    fence: Arc<Fence>,
    barrier: Arc<Barrier>,
}

impl Bench {
    fn new() -> Self {
        let (log, fence) = (SlowTail::new(), Arc::new(Fence::default()));
        let logs: Vec<Arc<dyn EventLog>> = vec![Arc::clone(&log) as Arc<dyn EventLog>];
        let barrier = Arc::new(Barrier::new(logs, Arc::clone(&fence)));
        Self { log, fence, barrier }
    }

    async fn start(&self) -> tokio::task::JoinHandle<Result<(), BarrierError>> {
        let barrier = Arc::clone(&self.barrier);
        let task = tokio::spawn(async move { barrier.pass(Partition(0), PATIENCE).await });
        settle().await;
        task
    }

    fn applied(&self, up_to: u64) {
        self.fence.publish(&self.log.topic, Partition(0), Offset(up_to));
    }
}

/// Lets every task go as far as it can.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_waits_until_the_view_has_what_was_durable() {
    let bench = Bench::new();
    bench.log.grow_to(5);
    let reader = bench.start().await;
    bench.log.answers.add_permits(1);
    bench.applied(4);
    settle().await;
    assert!(!reader.is_finished());
    bench.applied(5);
    assert!(reader.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_empty_log_is_nothing_to_wait_for() {
    let bench = Bench::new();
    let reader = bench.start().await;
    bench.log.answers.add_permits(1);
    assert!(reader.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_reader_never_uses_a_query_that_was_sent_before_it_came() {
    let bench = Bench::new();
    bench.log.grow_to(1);
    bench.applied(1);
    let first = bench.start().await;
    // Something becomes durable while the first query is under way; a reader that starts now has to see it.
    bench.log.grow_to(2);
    let second = bench.start().await;
    bench.log.answers.add_permits(2);
    settle().await;
    assert!(first.is_finished());
    assert!(!second.is_finished(), "its view has not applied offset 1");
    bench.applied(2);
    assert!(second.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_log_that_does_not_answer_is_not_waited_for_for_ever() {
    let bench = Bench::new();
    assert!(matches!(bench.start().await.await.unwrap(), Err(BarrierError::Late)));
    // The next one is not stuck behind it once the log answers again.
    let next = bench.start().await;
    bench.log.answers.add_permits(10);
    assert!(next.await.unwrap().is_ok());
}
