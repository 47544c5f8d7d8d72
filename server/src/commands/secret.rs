//! `solera secret`: makes one, says which are still needed, retires one.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use hyper::StatusCode;
use serde_json::Value;

use super::{
    admin::{Admin, AdminArgs},
    say,
};
use crate::secrets;

#[derive(Debug, Args)]
pub(super) struct SecretArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(subcommand)]
    command: SecretCommand,
}

#[derive(Debug, Subcommand)]
enum SecretCommand {
    /// Makes a secret of 32 random bytes in a new file that nobody else can read. Asks no node.
    #[command(after_help = "Example: solera secret new /etc/solera/secret-2")]
    New {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// The ring of a running node: how many live sessions each secret sealed, and when the last of them ends.
    #[command(after_help = "Example: solera secret status")]
    Status,
    /// Has a running node open nothing any more with a secret of the ring. Refused while live sessions need it.
    ///
    /// Each node has a ring of its own: to be said to all of them, once the new secret seals on all. Then take it out of the
    /// configuration of each.
    #[command(after_help = "Example: solera secret retire 1")]
    Retire {
        /// Its number in the ring.
        #[arg(value_name = "ID")]
        id: u32,
    },
}

pub(super) fn run(args: &SecretArgs) -> anyhow::Result<()> {
    let SecretArgs { admin, command } = args;
    match command {
        SecretCommand::New { file } => {
            secrets::make_new(file)?;
            say(&format!("{}: made", file.display()))
        }
        SecretCommand::Status => admin.ask(async |admin| status(&admin).await),
        SecretCommand::Retire { id } => admin.ask(async |admin| retire(&admin, *id).await),
    }
}

async fn status(admin: &Admin) -> anyhow::Result<()> {
    let answer = admin.look("/v1/secrets").await?;
    if answer.status != StatusCode::OK {
        return Err(answer.refusal());
    }
    let secrets = answer.body["secrets"].as_array().context("the node did not say which secrets it has")?;
    say(&format!("{:<10} {:<8} {:>12}  LAST EXPIRES", "ID", "STATE", "LIVE"))?;
    secrets.iter().try_for_each(|secret| say(&line(secret)))
}

fn line(secret: &Value) -> String {
    let last = match secret.get("last_expires") {
        None => "-".to_owned(),
        Some(end) => end.as_i64().map_or_else(|| "never".to_owned(), date),
    };
    let state = secret["state"].as_str().unwrap_or("?");
    format!("{:<10} {state:<8} {:>12}  {last}", secret["id"].to_string(), secret["live"].to_string())
}

fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |end| end.to_string())
}

async fn retire(admin: &Admin, id: u32) -> anyhow::Result<()> {
    let answer = admin.order(&format!("/v1/secrets/{id}/retire"), None).await?;
    if answer.status != StatusCode::NO_CONTENT {
        return Err(answer.refusal());
    }
    say(&format!("{id} is retired here: take it out of secrets.ring of this node's configuration"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_how_many_need_a_secret_and_until_when() {
        let needed = json!({ "id": 1, "state": "opens", "live": 7, "last_expires": 1_795_341_600 });
        assert_eq!(line(&needed), "1          opens               7  2026-11-22T10:00:00Z");
        let for_ever = json!({ "id": 2, "state": "seals", "live": 1, "last_expires": null });
        assert!(line(&for_ever).ends_with("1  never"));
        assert!(line(&json!({ "id": 3, "state": "opens", "live": 0 })).ends_with("0  -"));
    }
}
