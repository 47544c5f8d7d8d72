//! A child process that never outlives its owner, and whose last words are shown when the test fails.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

/// Lines of a log that a failing test shows.
const TAIL_LINES: usize = 60;

#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Both outputs of the process go to the end of `log`.
    pub(crate) fn spawn(name: &'static str, command: &mut Command, log: &Path) -> Self {
        let output =
            OpenOptions::new().create(true).append(true).open(log).expect("open the log of a process");
        let errors = output.try_clone().expect("open the log of a process twice");
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn();
        let child = child.unwrap_or_else(|error| panic!("start {name}: {error}"));
        Self { name, child, log: log.to_owned() }
    }

    pub(crate) fn assert_running(&mut self) {
        let status = self.child.try_wait().expect("look at a process");
        assert_eq!(status, None, "{} ended by itself", self.name);
    }

    /// Returns when the process is gone, and with it its locks and ports.
    pub(crate) fn kill9(&mut self) {
        self.assert_running();
        self.child.kill().expect("kill a process");
        self.child.wait().expect("wait for a killed process");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("{}", tail(self.name, &self.log));
        }
    }
}

/// The last lines of a file, under a heading.
pub(crate) fn tail(heading: &str, file: &Path) -> String {
    let text = fs::read(file).map_or_else(
        |error| format!("{}: {error}", file.display()),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    );
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!("--- {heading}, the last {} of {} lines ---\n{}", shown.len(), lines.len(), shown.join("\n"))
}
