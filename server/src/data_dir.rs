//! The data directory: one process at a time, and for life one data centre and one index secret.
//!
//! ```text
//!   LOCK         held by the process that works here
//!   log/OWNER    the data centre, and the fingerprint of the index secret, that the logs beside it were written under
//! ```

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use api::{Secret, index_fingerprint};
use schemas::{Dc, Topic};

/// A data directory that no other process works in.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Closed, and with it unlocked, when the process ends, however it ends.
    _lock: File,
}

impl DataDir {
    /// Takes the directory, and makes it if there is none.
    ///
    /// # Errors
    /// When another process has it.
    pub(crate) fn take(path: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
        let file = path.join("LOCK");
        let lock = File::options().create(true).truncate(false).write(true).open(&file);
        let lock = lock.with_context(|| format!("open {}", file.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another process works in {}: stop it, or use another directory", path.display())
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("lock {}", file.display()));
            }
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Makes the logs of this directory ours, or finds that they are.
    ///
    /// Under another name or secret the node would come up empty and tell everybody that their session is not there.
    ///
    /// # Errors
    /// When they were written under another name or secret.
    pub(crate) fn claim(&self, dc: &Dc, index: &Secret) -> anyhow::Result<()> {
        let log = self.path.join("log");
        let file = log.join("OWNER");
        let owner = format!("dc {dc}\nindex {}\n", index_fingerprint(index));
        match fs::read_to_string(&file) {
            Ok(found) if found == owner => return Ok(()),
            Ok(found) => return Err(stranger(&found, &owner, &log)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
        }
        let write = || {
            fs::create_dir_all(&log)?;
            let new = log.join("OWNER.new");
            let mut opened = File::create(&new)?;
            opened.write_all(owner.as_bytes())?;
            opened.sync_all()?;
            fs::rename(&new, &file)?;
            sync(&log)?;
            sync(&self.path)
        };
        write().with_context(|| format!("write {}", file.display()))
    }

    /// Finds that every log here belongs to a store: one that was given another name would come up empty.
    ///
    /// # Errors
    /// When there is another log.
    pub(crate) fn refuse_strange_logs(&self, known: impl Iterator<Item = Topic>) -> anyhow::Result<()> {
        let log = self.path.join("log");
        let known: Vec<_> = known.map(|topic| topic.to_string()).collect();
        for entry in fs::read_dir(&log).with_context(|| format!("list {}", log.display()))? {
            let entry = entry.with_context(|| format!("list {}", log.display()))?;
            let is_log = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_log && !known.iter().any(|topic| *topic == *entry.file_name().to_string_lossy()) {
                bail!(
                    "{} is the log of no store of this configuration: name its store as before, or move it elsewhere",
                    entry.path().display()
                );
            }
        }
        Ok(())
    }
}

fn stranger(found: &str, owner: &str, log: &Path) -> anyhow::Error {
    let name = |text: &str| text.lines().next().and_then(|line| line.strip_prefix("dc ")).map(str::to_owned);
    let (theirs, ours) = (name(found).unwrap_or_default(), name(owner).unwrap_or_default());
    let log = log.display();
    if theirs == ours {
        anyhow::anyhow!(
            "the logs in {log} were written under another index secret: put it back, or remove {log} to begin anew, \
             without any session"
        )
    } else {
        anyhow::anyhow!(
            "the logs in {log} are those of the data centre {theirs}, and the configuration says {ours}: set `dc: \
             {theirs}`, or remove {log} to begin anew, without any session"
        )
    }
}

/// Makes what was created in a directory survive a power cut.
pub(crate) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use zeroize::Zeroizing;

    use super::*;

    fn secret(byte: u8) -> Secret {
        Secret::new(Zeroizing::new(vec![byte; 32])).unwrap()
    }

    #[test]
    fn one_process_at_a_time_works_in_a_directory() {
        let dir = TempDir::new().unwrap();
        let first = DataDir::take(dir.path()).unwrap();
        let error = DataDir::take(dir.path()).unwrap_err().to_string();
        assert!(error.contains("another process works in"), "{error}");
        drop(first);
        DataDir::take(dir.path()).unwrap();
    }

    #[test]
    fn a_log_that_no_store_is_named_for_is_not_passed_over() {
        let dir = TempDir::new().unwrap();
        let data = DataDir::take(dir.path()).unwrap();
        data.claim(&"eqiad".parse().unwrap(), &secret(1)).unwrap();
        let topic = |store: &str| Topic { origin: "eqiad".parse().unwrap(), store: store.parse().unwrap() };
        fs::create_dir(dir.path().join("log/eqiad.sessions")).unwrap();
        data.refuse_strange_logs([topic("sessions"), topic("new")].into_iter()).unwrap();
        let error = data.refuse_strange_logs([topic("renamed")].into_iter()).unwrap_err().to_string();
        assert!(error.contains("log/eqiad.sessions is the log of no store"), "{error}");
    }

    #[test]
    fn logs_stay_with_the_data_centre_and_the_secret_that_wrote_them() {
        let dir = TempDir::new().unwrap();
        let data = DataDir::take(dir.path()).unwrap();
        let (eqiad, codfw): (Dc, Dc) = ("eqiad".parse().unwrap(), "codfw".parse().unwrap());
        data.claim(&eqiad, &secret(1)).unwrap();
        data.claim(&eqiad, &secret(1)).unwrap();
        let refused = |dc: &Dc, byte: u8| data.claim(dc, &secret(byte)).unwrap_err().to_string();
        assert!(refused(&eqiad, 2).contains("another index secret"));
        assert!(refused(&codfw, 1).contains("set `dc: eqiad`"));
        // Without its logs, the directory is anybody's.
        fs::remove_dir_all(dir.path().join("log")).unwrap();
        data.claim(&codfw, &secret(2)).unwrap();
    }
}
