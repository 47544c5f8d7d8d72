//! `solera check-config FILE`.

use std::{fs, path::Path};

use anyhow::{Context, bail};

use super::say;
use crate::{
    config::{self, Config},
    tls,
};

/// Says what is wrong with the file; nothing else, when nothing is.
pub(super) fn check(file: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let parsed = config::parse(&text);
    for warning in &parsed.warnings {
        say(&format!("warning: {warning}"))?;
    }
    match parsed.config {
        Ok(config) => {
            check_certificates(&config).with_context(|| format!("{} cannot be used", file.display()))?;
            say(&format!("{}: in order", file.display()))
        }
        Err(problems) => {
            say(config::report(&problems).trim_end())?;
            bail!("{} cannot be used: {} to mend", file.display(), problems.len())
        }
    }
}

/// Whether certificate and key fit, if they can be read: where a file is checked is not always where it is used.
fn check_certificates(config: &Config) -> anyhow::Result<()> {
    let of_data = config.listener.tls.as_ref().map(|files| (tls::DATA, files));
    let of_peers = config.peers.as_ref().and_then(|peers| Some((tls::PEERS, peers.tls.as_ref()?)));
    for (names, files) in of_data.into_iter().chain(of_peers) {
        match tls::check(names, files) {
            Ok(warnings) => warnings.iter().try_for_each(|warning| say(&format!("warning: {warning}")))?,
            Err(unreadable @ tls::Error::Unreadable { .. }) => {
                say(&format!("warning: not checked: {unreadable}"))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
