//! `solera peers`: the other data centres as a running node sees them, and an operator's word on one.

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use hyper::StatusCode;
use schemas::Dc;
use serde_json::{Value, json};

use super::{
    admin::{Admin, AdminArgs},
    say,
};

#[derive(Debug, Args)]
pub(super) struct PeersArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(subcommand)]
    command: Option<PeersCommand>,
}

#[derive(Debug, Subcommand)]
enum PeersCommand {
    /// Declares a data centre down, so that deletes go on without it, or up again.
    ///
    /// Take its traffic away first: a session that is deleted while it is declared down stays there until it is up again. The
    /// order is given once, at any node of another data centre; every node of every other one follows it. `up` returns when each
    /// of its nodes has applied what it missed: then you may pool it.
    #[command(
        after_help = "Example: solera peers set codfw down --i-have-depooled\n         solera peers set codfw up"
    )]
    Set {
        /// Which data centre.
        #[arg(value_name = "DC")]
        dc: Dc,
        /// What it is.
        state: State,
        /// Your word that no client is sent there any more. `down` needs it.
        #[arg(long)]
        i_have_depooled: bool,
        /// Your word that, since then, so much time has passed as its versions were ahead of the others: only where an order was
        /// refused for that.
        #[arg(long)]
        i_have_waited: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    Up,
    Down,
}

pub(super) fn run(args: &PeersArgs) -> anyhow::Result<()> {
    args.admin.ask(async |admin| obey(&admin, args.command.as_ref()).await)
}

async fn obey(admin: &Admin, command: Option<&PeersCommand>) -> anyhow::Result<()> {
    let Some(PeersCommand::Set { dc, state, i_have_depooled: depooled, i_have_waited: waited }) = command
    else {
        return list(admin).await;
    };
    let order = json!({ "state": state.name(), "depooled": depooled, "waited": waited });
    if let (State::Down, false) = (state, depooled) {
        bail!(
            "deletes will go on without {dc}, and sessions that are deleted meanwhile stay there until it is up \
             again. Take its traffic away first, and say so with --i-have-depooled"
        );
    }
    set(admin, dc, *state, &order).await
}

async fn list(admin: &Admin) -> anyhow::Result<()> {
    let answer = admin.look("/v1/peers").await?;
    if answer.status != StatusCode::OK {
        return Err(answer.refusal());
    }
    let peers = answer.body.as_object().context("the node did not say who its peers are")?;
    if peers.is_empty() {
        return say("no other data centres are configured");
    }
    say(&format!("{:<20} {:<9} {:<12} {}", "DC", "DECLARED", "DECLARES US", "ASKED"))?;
    for (dc, peer) in peers {
        let text = |name: &str| peer.get(name).and_then(Value::as_str);
        let asked = text("not_asked").map_or_else(|| "yes".to_owned(), |why| format!("no: {why}"));
        let declared = text("declared").unwrap_or("?");
        say(&format!("{dc:<20} {declared:<9} {:<12} {asked}", text("declares_us").unwrap_or("?")))?;
    }
    Ok(())
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

async fn set(admin: &Admin, dc: &Dc, state: State, order: &Value) -> anyhow::Result<()> {
    let answer = admin.put(&format!("/v1/peers/{dc}"), order).await?;
    if answer.status != StatusCode::OK {
        return Err(answer.refusal());
    }
    say(&match state {
        State::Down => format!("{dc} is declared down: deletes go on without it"),
        State::Up => format!("{dc} is declared up, and each of its nodes is back: you may pool {dc}"),
    })
}
