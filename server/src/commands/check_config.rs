//! `solera check-config FILE`.

use std::{fs, path::Path};

use anyhow::{Context, bail};

use super::say;
use crate::config;

/// Says what is wrong with the file; nothing else, when nothing is.
pub(super) fn check(file: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let parsed = config::parse(&text);
    for warning in &parsed.warnings {
        say(&format!("warning: {warning}"))?;
    }
    match parsed.config {
        Ok(_) => say(&format!("{}: in order", file.display())),
        Err(problems) => {
            say(config::report(&problems).trim_end())?;
            bail!("{} cannot be used: {} to mend", file.display(), problems.len())
        }
    }
}
