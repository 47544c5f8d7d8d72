//! System calls that fail or take their time, by `strace`.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::harness::eventually;

/// A line of shell that starts the program with a fault: `fdatasync:error=EIO:when=3`. The count is each thread's own.
pub(super) fn starting_with(fault: &str) -> String {
    let calls = fault.split(':').next().expect("a fault begins with system calls");
    // The tracer is a grandchild, so that the child is the program: a kill ends it, and its exit status is its own.
    format!("exec strace -D -f --seccomp-bpf -qqq -o /dev/null -e trace={calls} -e inject={fault} \"$@\"")
}

/// A fault in a process that runs, until this is dropped.
#[derive(Debug)]
pub(super) struct Fault(Child);

impl Fault {
    /// Begins; with `paths`, only calls that are about one of these files fail.
    pub(super) fn begin(pid: u32, fault: &str, paths: &[String]) -> Self {
        let calls = fault.split(':').next().expect("a fault begins with system calls");
        let mut command = Command::new("strace");
        command.args(["-f", "-qqq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={fault}"), "-p", &pid.to_string()]);
        command.args(paths.iter().flat_map(|path| ["-P", path]));
        let tracer = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("run strace");
        let began = Self(tracer);
        eventually("strace holds every thread", Duration::from_secs(10), || {
            let threads = threads(pid);
            let held = threads.iter().filter(|task| tracer_of(task) == Some(began.0.id())).count();
            (0 < held && held == threads.len()).then_some(())
        });
        began
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        // SIGINT lets go of the threads; SIGKILL would, too, but might leave one stopped.
        // It has ended by itself if the process has.
        let _ =
            Command::new("kill").args(["-s", "INT", &self.0.id().to_string()]).stderr(Stdio::null()).status();
        let _ended = self.0.wait();
    }
}

/// The status files of the threads of a process.
fn threads(pid: u32) -> Vec<std::path::PathBuf> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks.map(|task| task.path().join("status")).collect()
}

fn tracer_of(status: &std::path::Path) -> Option<u32> {
    let text = fs::read_to_string(status).ok()?;
    text.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim().parse().ok()
}
