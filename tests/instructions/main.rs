//! How many instructions a GET, a POST and an event that is applied take, counted by callgrind and held to what
//! `bench/instructions.json` says.
//!
//! ```text
//! make instructions              counts, and compares
//! make instructions RECORD=1     counts, and writes down what it counted
//! ```
//!
//! This program runs itself under valgrind, once for each scenario: `instructions count get_cached`. Callgrind itself
//! and not a harness around it, because the harness for Rust (gungraun) switches on a feature of `syn` that the build of
//! RocksDB's binding sees too, and so every test would compile RocksDB once more.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool for developers may stop at what it does not expect, and say why"
)]

mod budget;
mod callgrind;
#[path = "../in_process.rs"]
mod in_process;
mod scenarios;

use std::process::ExitCode;

use anyhow::bail;

use self::{
    budget::{Budget, Judged},
    scenarios::Scenario,
};

fn main() -> anyhow::Result<ExitCode> {
    // Cargo says `--bench` to every benchmark.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(),
        ["--record"] => record(),
        ["count", name] => {
            let scenario = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
            scenario.ok_or_else(|| anyhow::anyhow!("there is no scenario {name:?}"))?.run();
            Ok(ExitCode::SUCCESS)
        }
        _ => bail!("usage: instructions [--record]"),
    }
}

fn count_all() -> anyhow::Result<Budget> {
    let mut counted = Budget::new(callgrind::made_with()?);
    for scenario in Scenario::ALL {
        counted.set(scenario.name(), callgrind::count(scenario)?);
    }
    Ok(counted)
}

fn record() -> anyhow::Result<ExitCode> {
    let counted = count_all()?;
    counted.save()?;
    for scenario in Scenario::ALL {
        println!(
            "{:>12}  {:>8} instructions {}",
            scenario.name(),
            counted.of(scenario.name()),
            scenario.unit()
        );
    }
    println!("Recorded in {}: commit it, and say in the commit why the numbers moved.", budget::FILE);
    Ok(ExitCode::SUCCESS)
}

fn compare() -> anyhow::Result<ExitCode> {
    let recorded = Budget::load()?;
    let counted = count_all()?;
    let judged: Vec<_> = Scenario::ALL
        .into_iter()
        .map(|scenario| {
            let (recorded, counted) = (recorded.of(scenario.name()), counted.of(scenario.name()));
            (scenario, Judged { recorded, counted })
        })
        .collect();
    for (scenario, judged) in &judged {
        println!("{:>12}  {judged} {}", scenario.name(), scenario.unit());
    }
    let off: Vec<_> = judged.iter().filter(|(_, judged)| !judged.holds()).collect();
    if off.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!();
    for (scenario, judged) in off {
        println!("{} ({}): {}", scenario.name(), scenario.what(), judged.complaint());
    }
    if recorded.made_with() != counted.made_with() {
        println!("They were recorded with {}; this is {}.", recorded.made_with(), counted.made_with());
    }
    println!("What takes them: callgrind_annotate --inclusive=yes {}", callgrind::out_file("NAME").display());
    println!("If it is meant: make instructions RECORD=1, and commit {}.", budget::FILE);
    Ok(ExitCode::FAILURE)
}
