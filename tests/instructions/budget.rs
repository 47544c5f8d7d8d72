//! What was recorded, and whether a count holds to it.

use std::{collections::BTreeMap, fmt, fs};

use anyhow::Context;
use serde_json::{Value, json};

/// Where it is recorded, from the root of the project.
pub(crate) const FILE: &str = "bench/instructions.json";

/// How far a count may be from what was recorded, either way, in percent. Counts of the same program differ by up to 1 %
/// for a POST and far less for the rest; `docs/benchmarks.md` has them.
const TOLERANCE_PERCENT: f64 = 3.0;

/// Instructions by scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    made_with: String,
    instructions: BTreeMap<String, u64>,
}

impl Budget {
    /// Nothing counted yet, with these tools.
    pub(crate) fn new(made_with: String) -> Self {
        Self { made_with, instructions: BTreeMap::new() }
    }

    pub(crate) fn load() -> anyhow::Result<Self> {
        let text = fs::read_to_string(path()).with_context(|| format!("read {FILE}"))?;
        Self::parse(&text).with_context(|| format!("read {FILE}: make instructions RECORD=1 writes it anew"))
    }

    pub(crate) fn save(&self) -> anyhow::Result<()> {
        fs::write(path(), self.print()).with_context(|| format!("write {FILE}"))
    }

    pub(crate) fn set(&mut self, scenario: &str, instructions: u64) {
        self.instructions.insert(scenario.into(), instructions);
    }

    /// 0 if nothing was recorded, to which no count holds.
    pub(crate) fn of(&self, scenario: &str) -> u64 {
        self.instructions.get(scenario).copied().unwrap_or(0)
    }

    pub(crate) fn made_with(&self) -> &str {
        &self.made_with
    }

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let value: Value = serde_json::from_str(text)?;
        let made_with = value["made_with"].as_str().context("made_with is missing")?.to_owned();
        let mut budget = Self::new(made_with);
        for (scenario, instructions) in
            value["instructions"].as_object().context("instructions are missing")?
        {
            let instructions = instructions.as_u64();
            budget.set(scenario, instructions.with_context(|| format!("{scenario} is not a number"))?);
        }
        Ok(budget)
    }

    pub(crate) fn print(&self) -> String {
        let value = json!({ "made_with": self.made_with, "instructions": self.instructions });
        format!("{value:#}\n")
    }
}

fn path() -> String {
    format!("{}/../{FILE}", env!("CARGO_MANIFEST_DIR"))
}

/// A count beside what was recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged {
    pub(crate) recorded: u64,
    pub(crate) counted: u64,
}

impl Judged {
    pub(crate) fn holds(self) -> bool {
        self.percent().is_some_and(|percent| percent.abs() <= TOLERANCE_PERCENT)
    }

    /// What to tell whoever made it so.
    pub(crate) fn complaint(self) -> String {
        let Self { recorded, counted } = self;
        match self.percent() {
            None => format!("{counted} instructions, and nothing was recorded."),
            Some(percent) if percent < 0.0 => format!(
                "{:.1} % fewer instructions than recorded, {counted} instead of {recorded}: record that, so that it \
                 is kept.",
                -percent
            ),
            Some(percent) => format!(
                "{percent:.1} % more instructions than recorded, {counted} instead of {recorded}, and \
                 {TOLERANCE_PERCENT} % are allowed."
            ),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "instructions of a request are far below 2^52")]
    fn percent(self) -> Option<f64> {
        let (recorded, counted) = (self.recorded as f64, self.counted as f64);
        (0 < self.recorded).then(|| (counted - recorded) / recorded * 100.0)
    }
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { recorded, counted } = self;
        match self.percent() {
            Some(percent) => write!(f, "{counted:>8} instructions, recorded {recorded:>8}, {percent:+.2} %"),
            None => write!(f, "{counted:>8} instructions, nothing recorded"),
        }
    }
}
