//! `solera bench`: loads a server and says what it did; and the floors that figures are put beside. The load knows
//! nothing of sessions but the HTTP calls, so that any store can be loaded that answers as Kask does.
//!
//! ```text
//!   arguments ──▶ load ──▶ drive, one a thread ──▶ tally ──▶ report
//!                           ▲   what is next: workload (mix, distribution, sizes)
//!                           │   when: schedule
//!                           └   what may come back: response, body, ledger
//!   visible   how soon another node shows what one was given; looks says when to look for it
//!   floors    what no server (axum, hyper), no log (fdatasync, appends), no rebuild (replay) and nothing that waits for
//!             Kafka (kafka/) can beat
//! ```

mod arguments;
mod body;
mod distribution;
mod drive;
mod floors;
mod ledger;
mod load;
mod looks;
mod mix;
mod process;
mod report;
mod response;
mod schedule;
mod sizes;
mod tally;
mod target;
mod visible;
mod workload;

use std::io::Write;

use anyhow::{Context, bail};

pub use arguments::Arguments;

/// Does what was asked, and writes what came out to `out`.
///
/// # Errors
/// When it could not be done, or anything was not as it must be: a request that failed, a body that is not what was
/// written, a session that is lost. The report is written first.
pub fn run(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let Arguments { url, serve, listen, floor, place, visible_at, load } = arguments;
    if let (Some(kind), Some(listen)) = (serve, listen) {
        return floors::serve(*kind, *listen, load.size.max(), out);
    }
    if let Some(kind) = floor {
        return floors::measure(*kind, place, load, out);
    }
    let target = url.as_ref().context("a URL, --serve or --floor")?;
    if let Some(other) = visible_at {
        return visible::run(target, other, load, out);
    }
    let report = load::run(target, load)?;
    let text = if load.json { report.json() + "\n" } else { report.text() };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write the report")?;
    if 0 < report.errors() {
        bail!("{} errors with {target}: the report says of which kind", report.errors());
    }
    Ok(())
}
