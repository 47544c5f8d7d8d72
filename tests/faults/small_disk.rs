//! A disk of a few megabytes, in a mount namespace of its own: it goes with the process that holds it, however that ends.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::fs::statvfs;

/// The disk, and the process that holds its namespace.
#[derive(Debug)]
pub(super) struct SmallDisk {
    holder: Child,
    /// The disk's root, as it is seen from outside of the namespace.
    root: PathBuf,
}

impl SmallDisk {
    /// Mounts a disk on `dir`, for nobody to see but those who enter.
    pub(super) fn mount(dir: &Path, mebibytes: u64) -> Self {
        // It ends when its standard input does: when this value is dropped, or the test's process is gone.
        let script = "mkdir -p \"$1\" && mount -t tmpfs -o \"size=$2m\" solera \"$1\" && echo mounted && cat";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(dir);
        command.arg(mebibytes.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().expect("run unshare");
        let mut said = String::new();
        let stdout = holder.stdout.as_mut().expect("it is piped");
        BufReader::new(stdout).read_line(&mut said).expect("read what the mount says");
        assert_eq!(
            said, "mounted\n",
            "mounting a disk takes root; SOLERA_FAULTS=none leaves these tests out"
        );
        let inside = dir.strip_prefix("/").expect("an absolute path");
        let root = Path::new("/proc").join(holder.id().to_string()).join("root").join(inside);
        Self { holder, root }
    }

    /// A line of shell that starts the program where it sees the disk.
    pub(super) fn entering(&self) -> String {
        format!("exec nsenter --target {} --mount \"$@\"", self.holder.id())
    }

    /// Free bytes.
    pub(super) fn free(&self) -> u64 {
        let found = statvfs(&self.root).expect("the disk is mounted");
        found.f_bavail * found.f_frsize
    }

    /// Fills the disk until at most `left` bytes are free. Somebody else's file.
    pub(super) fn fill(&self, left: u64) {
        let mut ballast =
            fs::OpenOptions::new().create(true).append(true).open(self.ballast()).expect("a ballast");
        let page = vec![1; 4096];
        while left + page.len() as u64 <= self.free() {
            if ballast.write_all(&page).is_err() {
                break;
            }
        }
    }

    /// Gives back what [`fill`](Self::fill) took.
    pub(super) fn clear(&self) {
        fs::remove_file(self.ballast()).expect("remove the ballast");
    }

    fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ended = self.holder.wait();
    }
}
