//! Runs a scenario under callgrind and reads what it counted.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use crate::scenarios::{COUNTED, LEFT_OUT, Scenario};

/// The tools that a count depends on. The processor is not among them: on any that has what x86-64-v3 asks for, valgrind
/// shows programs the same one.
pub(crate) fn made_with() -> anyhow::Result<String> {
    let tools =
        [says("rustc", "--version")?, says("valgrind", "--version")?, says("getconf", "GNU_LIBC_VERSION")?];
    Ok(tools.join(", "))
}

fn says(tool: &str, argument: &str) -> anyhow::Result<String> {
    let output = Command::new(tool).arg(argument).output();
    let output =
        output.with_context(|| format!("run {tool}: scripts/instructions.sh says what to install"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Where callgrind leaves the profile of a scenario.
pub(crate) fn out_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind.{name}.out"))
}

/// Instructions of one request or event: the median of as many runs as the scenario needs.
pub(crate) fn count(scenario: Scenario) -> anyhow::Result<u64> {
    let mut counted =
        (0..scenario.runs()).map(|_| count_once(scenario)).collect::<anyhow::Result<Vec<_>>>()?;
    counted.sort_unstable();
    Ok(counted[counted.len() / 2])
}

fn count_once(scenario: Scenario) -> anyhow::Result<u64> {
    // Of this process alone, until it is whole: somebody else may be counting.
    let out = out_file(&format!("{}.{}", scenario.name(), std::process::id()));
    let mut valgrind = Command::new("valgrind");
    valgrind.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", out.display()));
    // Entering or leaving one of these turns counting on or off, for the thread that does.
    valgrind.args(COUNTED.into_iter().chain([LEFT_OUT]).map(|name| format!("--toggle-collect=*::{name}")));
    valgrind.arg(std::env::current_exe().context("find this program")?).args(["count", scenario.name()]);
    let ran = valgrind.output().context("run valgrind")?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "{} under valgrind: {}\n{said}", scenario.name(), ran.status);

    let profile = fs::read_to_string(&out).with_context(|| format!("read {}", out.display()))?;
    let total = total(&profile).with_context(|| format!("{} has no total", out.display()))?;
    ensure!(0 < total, "nothing was counted: valgrind did not find {COUNTED:?} in the program's symbols");
    fs::rename(&out, out_file(scenario.name())).with_context(|| format!("rename {}", out.display()))?;
    Ok(total / scenario.repeats())
}

fn total(profile: &str) -> Option<u64> {
    profile.lines().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}
