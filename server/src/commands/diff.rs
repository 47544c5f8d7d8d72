//! `solera diff`: has a running node compare its data centre with another.

use std::fmt::Write;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use hyper::StatusCode;
use serde_json::Value;

use super::{
    Failure,
    admin::{Admin, AdminArgs},
    say,
};

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// A data centre.
    #[arg(value_name = "DC1")]
    one: String,
    /// The one to compare it with.
    #[arg(value_name = "DC2")]
    other: String,
    #[command(flatten)]
    admin: AdminArgs,
    /// Only this store; all of them otherwise.
    #[arg(long, value_name = "NAME")]
    store: Option<String>,
    /// How it is said: the lines end with the thousandth key in either form.
    #[arg(short, long, value_enum, default_value_t = Form::Text)]
    output: Form,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// For programs: a list with an object for each store.
    Json,
}

/// Compares store by store, and says what came of each.
pub(super) fn run(arguments: &DiffArgs) -> anyhow::Result<()> {
    let compared = arguments.admin.ask(async |admin| compare(&admin, arguments).await)?;
    match arguments.output {
        Form::Text => compared.iter().try_for_each(|store| say(&describe(store, arguments)))?,
        Form::Json => say(&format!("{:#}", Value::Array(compared.clone())))?,
    }
    let differing: u64 = compared.iter().filter_map(|store| store["differing"].as_u64()).sum();
    if 0 < differing {
        let DiffArgs { one, other, .. } = arguments;
        bail!(Failure::Mismatch(format!("{one} and {other} differ in {}", keys(differing))));
    }
    Ok(())
}

async fn compare(admin: &Admin, arguments: &DiffArgs) -> anyhow::Result<Vec<Value>> {
    let DiffArgs { one, other, admin: _, store, output: _ } = arguments;
    let stores = match store {
        Some(store) => vec![store.clone()],
        None => all_stores(admin).await?,
    };
    let mut compared = Vec::new();
    for store in stores {
        let path = format!("/v1/stores/{store}/diff?between={one},{other}");
        let answer = admin.look(&path).await?;
        if answer.status != StatusCode::OK {
            return Err(answer.refusal().context(format!("compare {store}")));
        }
        compared.push(answer.body);
    }
    Ok(compared)
}

async fn all_stores(admin: &Admin) -> anyhow::Result<Vec<String>> {
    let status = admin.look("/v1/status").await?;
    if status.status != StatusCode::OK {
        return Err(status.refusal());
    }
    let stores = status.body["stores"].as_object().context("the node did not say which stores it has")?;
    Ok(stores.keys().cloned().collect())
}

fn describe(compared: &Value, arguments: &DiffArgs) -> String {
    let DiffArgs { one, other, .. } = arguments;
    let cells = |dc: &str| compared["cells"][dc].as_u64().unwrap_or_default();
    let differing = compared["differing"].as_u64().unwrap_or_default();
    let mut text = format!(
        "{}: {one} has {} cells and {other} {}, ",
        compared["store"].as_str().unwrap_or_default(),
        cells(one),
        cells(other)
    );
    if differing == 0 {
        text.push_str("and they are equal");
        return text;
    }
    let line = "a string takes everything";
    write!(text, "and they differ in {}", keys(differing)).expect(line);
    let told = compared["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
    for key in told {
        let held = |dc: &str| hold(&key["holds"][dc]);
        let key_id = key["key_id"].as_str().unwrap_or_default();
        write!(text, "\n  ~{key_id}  {one}: {}  {other}: {}", held(one), held(other)).expect(line);
    }
    let more = differing.saturating_sub(told.len() as u64);
    if 0 < more {
        write!(text, "\n  and {more} more").expect(line);
    }
    text
}

fn hold(cell: &Value) -> String {
    let said = |name| cell[name].as_str().unwrap_or_default();
    if cell.is_null() { "nothing".to_owned() } else { format!("{} {}", said("op"), said("version")) }
}

fn keys(count: u64) -> String {
    if count == 1 { "1 key".to_owned() } else { format!("{count} keys") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments() -> DiffArgs {
        DiffArgs {
            one: "eqiad".to_owned(),
            other: "codfw".to_owned(),
            admin: AdminArgs::default(),
            store: None,
            output: Form::Text,
        }
    }

    #[test]
    fn a_line_says_how_much_is_equal_and_others_which_keys_are_not() {
        let equal =
            json!({ "store": "sessions", "differing": 0, "cells": { "codfw": 7, "eqiad": 7 }, "keys": [] });
        assert_eq!(
            describe(&equal, &arguments()),
            "sessions: eqiad has 7 cells and codfw 7, and they are equal"
        );
        let set = json!({ "key_id": "k", "op": "set", "version": "1-2", "retain_until": "9" });
        let keys = json!([{ "key_id": "k", "holds": { "eqiad": set, "codfw": null } }]);
        let different =
            json!({ "store": "sessions", "differing": 3, "cells": { "codfw": 6, "eqiad": 7 }, "keys": keys });
        assert_eq!(
            describe(&different, &arguments()),
            "sessions: eqiad has 7 cells and codfw 6, and they differ in 3 keys\n  \
             ~k  eqiad: set 1-2  codfw: nothing\n  \
             and 2 more"
        );
    }
}
