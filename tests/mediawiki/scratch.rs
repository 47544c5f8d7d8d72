//! A folder for one run. It stays when the test fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::thread;

#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn create() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("mediawiki-{}", process::id()));
        // A run of long ago may have had the same process id.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("make a folder for this run");
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("everything this run wrote: {}", self.0.display());
        } else {
            // What cannot be removed is in nobody's way.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
