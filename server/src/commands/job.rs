//! `solera rebuild`, `verify` and `repair`: order a job from a running node, and watch it.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use anyhow::{Context, bail};
use hyper::{StatusCode, header};
use serde_json::Value;

use super::{
    Failure,
    admin::{Admin, AdminArgs},
    say,
};

/// How often a job is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

const BAR_CELLS: usize = 30;

/// Orders `task`, which may need something in its body, shows how it goes on standard error when that is a terminal, and says how it ended.
pub(super) fn order(
    admin: &AdminArgs,
    task: &str,
    with: Option<Value>,
    store: Option<&str>,
) -> anyhow::Result<()> {
    admin.ask(async |admin| {
        let query = store.map(|store| format!("?store={store}")).unwrap_or_default();
        let ordered = admin.order(&format!("/v1/{task}{query}"), with).await?;
        if ordered.status != StatusCode::ACCEPTED {
            return Err(ordered.refusal());
        }
        let location = ordered.headers.get(header::LOCATION).and_then(|location| location.to_str().ok());
        watch(&admin, location.context("the node did not say which job it is")?).await
    })
}

async fn watch(admin: &Admin, job: &str) -> anyhow::Result<()> {
    let mut look = tokio::time::interval(LOOK_EVERY);
    let shows_progress = io::stderr().is_terminal();
    loop {
        look.tick().await;
        let answer = admin.look(job).await?;
        if answer.status != StatusCode::OK {
            return Err(answer.refusal());
        }
        let job = &answer.body;
        if shows_progress {
            // Nobody is told less when the bar cannot be drawn.
            let _not_drawn = write!(io::stderr(), "\r{}", bar(job));
        }
        let state = job["state"].as_str().unwrap_or_default();
        if state == "running" {
            continue;
        }
        if shows_progress {
            let _not_drawn = writeln!(io::stderr());
        }
        let detail = job["detail"].as_str().unwrap_or_default();
        match state {
            "done" => return say(detail),
            "different" => bail!(Failure::Mismatch(detail.to_owned())),
            _ => bail!("{state}: {detail}"),
        }
    }
}

/// `[######........]  43 %  1200/2800 records  12 s to go`
fn bar(job: &Value) -> String {
    let number = |name: &str| job[name].as_u64().unwrap_or(0);
    let (done, total) = (number("done"), number("total"));
    // What is asked of an empty log is done.
    let part = |of: u64| (done.min(total) * of).checked_div(total).unwrap_or(of);
    let filled = usize::try_from(part(BAR_CELLS as u64)).unwrap_or(BAR_CELLS);
    let eta = job["eta_s"].as_u64().map(|seconds| format!("  {seconds} s to go")).unwrap_or_default();
    format!(
        "[{}{}] {:3} %  {done}/{total} records{eta:<16}",
        "#".repeat(filled),
        ".".repeat(BAR_CELLS - filled),
        part(100)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_bar_says_how_far_it_is() {
        let half = bar(&json!({ "state": "running", "done": 50, "total": 100, "eta_s": 7 }));
        assert_eq!(
            half.trim_end(),
            format!("[{}{}]  50 %  50/100 records  7 s to go", "#".repeat(15), ".".repeat(15))
        );
        assert!(bar(&json!({ "done": 0, "total": 0 })).contains("100 %"));
        assert!(bar(&json!({ "done": 101, "total": 100 })).contains("100 %"));
    }
}
