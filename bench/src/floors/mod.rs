//! What figures are put beside: as little as can do a part of the work.

mod appends;
mod axum;
mod fdatasync;
mod hyper;
mod kafka;
mod replay;

use std::{io::Write, net::SocketAddr};

use ::axum::body::Bytes;
use anyhow::Context;
use tokio::net::TcpListener;

use crate::{
    arguments::{Floor, Load, Place, Serve},
    body::{self, ANY_KEY, Stamp},
};

/// Serves a floor until the process is ended. Says where once it listens.
pub(crate) fn serve(
    kind: Serve,
    listen: SocketAddr,
    bytes: usize,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut body = Vec::new();
    body::append(&mut body, Stamp { key: ANY_KEY, run: 0, sequence: 0 }, bytes);
    let body = Bytes::from(body);
    // The runtime that the store has.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
        let address = listener.local_addr().context("ask for the own address")?;
        writeln!(out, "http://{address}/").and_then(|()| out.flush()).context("say where it listens")?;
        match kind {
            Serve::Axum => axum::serve(listener, body).await,
            Serve::Hyper => hyper::serve(listener, body).await,
        }
    })
}

/// Measures a disk or a cluster.
pub(crate) fn measure(kind: Floor, place: &Place, load: &Load, out: &mut impl Write) -> anyhow::Result<()> {
    match kind {
        Floor::Fdatasync => fdatasync::run(place.dir()?, load, out),
        Floor::Appends => appends::run(place.dir()?, out),
        Floor::Replay => replay::run(place.dir()?, load, out),
        Floor::KafkaEnds => kafka::ends::run(&kafka::Topic::of(place)?, load, out),
        Floor::KafkaSeen => {
            let topic = kafka::Topic::of(place)?;
            kafka::seen::run(&topic, &topic.at(place.seen_at()), load, out)
        }
        Floor::KafkaRead => kafka::read::run(&kafka::Topic::of(place)?, load, out),
    }
}
