//! Copies of views to start from: `checkpoints/<store>/<unix ms>/`.
//!
//! A view is made of files that never change, and of a few small ones that do. A checkpoint holds the former under second
//! names (hard links), so it costs nothing until the view has replaced them, and is made in a moment.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use materializer::sessions::SessionView;
use schemas::Timestamp;

use crate::{data_dir, view_dir};

/// While a checkpoint is being made.
const MAKING: &str = "making";

/// The checkpoints of one store.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    dir: PathBuf,
    keep: usize,
}

impl Checkpoints {
    /// Those in `dir`; `keep` of them are kept.
    pub(crate) const fn new(dir: PathBuf, keep: usize) -> Self {
        Self { dir, keep }
    }

    /// Makes one and removes the oldest. Blocks on the disk.
    pub(crate) fn make(&self, view: &SessionView, now: Timestamp) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(&self.dir).with_context(|| format!("create {}", self.dir.display()))?;
        let making = self.dir.join(MAKING);
        view_dir::remove(&making)?;
        view.checkpoint(&making)?;
        let made = self.dir.join(now.as_millis().to_string());
        fs::rename(&making, &made).with_context(|| format!("name the checkpoint {}", made.display()))?;
        data_dir::sync(&self.dir).with_context(|| format!("sync {}", self.dir.display()))?;
        for old in self.newest_first()?.into_iter().skip(self.keep) {
            view_dir::remove(&old)?;
        }
        Ok(made)
    }

    /// All of them.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub(crate) fn newest_first(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = match view_dir::numbered(&self.dir) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("list {}", self.dir.display())),
        };
        found.reverse();
        Ok(found.into_iter().map(|at| self.dir.join(at.to_string())).collect())
    }
}

/// Copies a checkpoint to `to`, which must not exist. What never changes gets a second name, the rest is copied.
pub(crate) fn restore(checkpoint: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(checkpoint)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.extension().is_some_and(|extension| extension == "sst") {
            fs::hard_link(from, to)?;
        } else {
            fs::copy(from, to)?;
        }
    }
    data_dir::sync(to)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_newest_comes_first_and_what_is_not_finished_does_not_count() {
        let dir = TempDir::new().unwrap();
        for name in ["999", "1000", MAKING] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let checkpoints = Checkpoints::new(dir.path().to_owned(), 2);
        let found = checkpoints.newest_first().unwrap();
        assert_eq!(found, ["1000", "999"].map(|name| dir.path().join(name)));
        let none = Checkpoints::new(dir.path().join("none"), 2);
        assert!(none.newest_first().unwrap().is_empty());
    }

    #[test]
    fn tables_are_shared_and_the_rest_is_copied() {
        use std::os::unix::fs::MetadataExt;

        let dir = TempDir::new().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        for name in ["1.sst", "MANIFEST-1"] {
            fs::write(from.join(name), name).unwrap();
        }
        restore(&from, &to).unwrap();
        let inode = |dir: &Path, name: &str| fs::metadata(dir.join(name)).unwrap().ino();
        assert_eq!(inode(&from, "1.sst"), inode(&to, "1.sst"));
        assert_ne!(inode(&from, "MANIFEST-1"), inode(&to, "MANIFEST-1"));
        assert_eq!(fs::read_to_string(to.join("MANIFEST-1")).unwrap(), "MANIFEST-1");
    }
}
