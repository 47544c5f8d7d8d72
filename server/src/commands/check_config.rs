//! `solera check-config FILE`.

use std::{fs, path::Path};

use anyhow::{Context, bail};

use super::say;
use crate::{
    access,
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
            let wrong = check_files(&config)?;
            if wrong.is_empty() {
                return say(&format!("{}: in order", file.display()));
            }
            say(&wrong.join("\n"))?;
            bail!("{} cannot be used: {} of the files that it names", file.display(), wrong.len())
        }
        Err(problems) => {
            say(config::report(&problems).trim_end())?;
            bail!("{} cannot be used: {} to mend", file.display(), problems.len())
        }
    }
}

/// What is wrong with the files that are named, if they can be read: where a file is checked is not always where it is used.
fn check_files(config: &Config) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    let listeners = [(tls::DATA, config.listener.tls.as_ref()), (tls::ADMIN, config.admin.tls.as_ref())];
    let of_peers = config.peers.as_ref().map(|peers| (tls::PEERS, peers.tls.as_ref()));
    for (names, files) in listeners.into_iter().chain(of_peers) {
        let Some(files) = files else { continue };
        match tls::check(names, files) {
            Ok(warnings) => warnings.iter().try_for_each(|warning| say(&format!("warning: {warning}")))?,
            Err(unreadable @ tls::Error::Unreadable { .. }) => {
                say(&format!("warning: not checked: {unreadable}"))?;
            }
            Err(error) => wrong.push(error.to_string()),
        }
    }
    for (key, file) in access::files(config) {
        let Some(file) = file else { continue };
        match access::read(key, file, config) {
            Ok(clients) => access::warnings(key, file, &clients, config)
                .try_for_each(|warning| say(&format!("warning: {warning}")))?,
            Err(unreadable @ access::Error::Unreadable { .. }) => {
                say(&format!("warning: not checked: {unreadable}"))?;
            }
            Err(error) => wrong.push(error.to_string()),
        }
    }
    Ok(wrong)
}
