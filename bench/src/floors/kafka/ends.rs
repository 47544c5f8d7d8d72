//! Where a topic ends: what a read has to ask for that must see all that was durable before it. Alone, one question
//! after the other; or by many at once, who share questions.
//!
//! ```text
//!   64 wait ─▶ thread: one ListOffsets for all who wait ─▶ all of them ask again
//! ```
//! Whoever asks while a question is on its way waits for the next one: that one alone covers what was durable when it was
//! asked. So many who wait pay for the rest of a question and for a whole one.

use std::{collections::BTreeMap, io::Write, sync::mpsc, thread, time::Instant};

use anyhow::{Context, anyhow};
use futures::future::try_join_all;
use rdkafka::consumer::BaseConsumer;
use tokio::sync::oneshot;

use super::{Figures, Topic, Window};
use crate::{arguments::Load, report::Latency, tally::Times};

/// Asks for as long as the load would have been measured.
pub(in crate::floors) fn run(topic: &Topic, load: &Load, out: &mut impl Write) -> anyhow::Result<()> {
    let asker = topic.asker()?;
    // The first question takes longer: nobody knows yet which broker leads which partition.
    topic.ends(&asker)?;
    let window = Window::of(load);
    let times = if load.connections == 1 {
        alone(topic, &asker, window)?
    } else {
        together(topic, &asker, window, load)?
    };
    let figures = Figures {
        floor: "kafka-ends",
        topic: &topic.name,
        partitions: topic.partitions,
        connections: load.connections,
        rate: window.per_second(times.count()),
        times: BTreeMap::from([("ends", Latency::of(&times))]),
    };
    figures.write(load, out)
}

fn alone(topic: &Topic, asker: &BaseConsumer, window: Window) -> anyhow::Result<Times> {
    let mut times = Times::new();
    while !window.is_over() {
        let began = Instant::now();
        topic.ends(asker)?;
        window.record(&mut times, began);
    }
    Ok(times)
}

/// Somebody who wants to know.
type Asks = oneshot::Sender<()>;

fn together(topic: &Topic, asker: &BaseConsumer, window: Window, load: &Load) -> anyhow::Result<Times> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().context("start a runtime")?;
    let (sender, questions) = mpsc::channel();
    thread::scope(|scope| {
        let asking = scope.spawn(move || answer_all(topic, asker, &questions));
        let all = (0..load.connections).map(|_| ask_again_and_again(sender.clone(), window));
        let waited = runtime.block_on(try_join_all(all));
        drop(sender);
        // What went wrong there is why nobody was answered here.
        asking.join().map_err(|_| anyhow!("the thread that asks panicked"))??;
        let mut sum = Times::new();
        waited?.iter().for_each(|times| sum.add(times));
        Ok(sum)
    })
}

/// Until nobody can ask any more.
fn answer_all(topic: &Topic, asker: &BaseConsumer, questions: &mpsc::Receiver<Asks>) -> anyhow::Result<()> {
    while let Ok(first) = questions.recv() {
        let together: Vec<_> = std::iter::once(first).chain(questions.try_iter()).collect();
        topic.ends(asker)?;
        for asks in together {
            // Whoever gave up has seen another one fail.
            let _gave_up = asks.send(());
        }
    }
    Ok(())
}

async fn ask_again_and_again(questions: mpsc::Sender<Asks>, window: Window) -> anyhow::Result<Times> {
    let mut times = Times::new();
    while !window.is_over() {
        let began = Instant::now();
        let (asks, answer) = oneshot::channel();
        questions.send(asks).context("ask the thread that asks")?;
        answer.await.context("wait for an answer")?;
        window.record(&mut times, began);
    }
    Ok(times)
}
