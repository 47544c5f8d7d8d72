//! One `solera` process over a data directory of its own: start, watch, kill, start again.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::{Connection, Response, message};
use super::ports::{self, Ports};
use super::wait::eventually;

/// From start to the first 200 of `/readyz`.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// From a signal, or a refused start, to the end of the process.
const EXIT_WITHIN: Duration = Duration::from_secs(30);
/// From what a test does to the log line that tells of it.
const LOG_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at `/readyz`; an output line cuts it short.
const POLL: Duration = Duration::from_millis(25);
/// How often a start is tried when someone else was quicker to take a port.
const PORT_ATTEMPTS: u32 = 4;
/// Output lines that a failing test shows.
const TAIL_LINES: usize = 40;

/// How a process is started: everything that `restart` needs again.
#[derive(Debug)]
pub(crate) struct Launch {
    command: &'static str,
    config: Option<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    wrapper: Option<String>,
    directory: Directory,
}

impl Launch {
    /// `solera dev --data-dir D --port-base P`.
    pub(crate) fn dev() -> Self {
        Self::of("dev", None)
    }

    /// `solera serve --config FILE --data-dir D`, with `config` as the file.
    ///
    /// The file gets a `listen_address` and a `listen_port`, unless it says `listen_port` itself. In it `${PORT}`,
    /// `${ADMIN_PORT}`, `${PEER_PORT}` and `${DIR}` stand for the ports of the start and for a directory beside the
    /// data, which [`Launch::file`] fills.
    pub(crate) fn serve(config: &str) -> Self {
        Self::of("serve", Some(config.to_owned()))
    }

    fn of(command: &'static str, config: Option<String>) -> Self {
        let directory = Directory::create();
        Self { command, config, arguments: Vec::new(), environment: Vec::new(), wrapper: None, directory }
    }

    /// One more argument.
    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// One more variable of the environment.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the program through a line of shell, which finds program and arguments in `"$@"`.
    pub(crate) fn through(mut self, shell: &str) -> Self {
        self.wrapper = Some(shell.to_owned());
        self
    }

    /// A directory beside the data, `${DIR}`.
    pub(crate) fn dir(&self) -> &Path {
        self.directory.path()
    }

    /// A file in `${DIR}`.
    pub(crate) fn file(self, name: &str, contents: impl AsRef<[u8]>) -> Self {
        fs::write(self.directory.path().join(name), contents).expect("write a file beside the data");
        self
    }

    /// The configuration as a start would read it, for somebody else who reads it.
    ///
    /// # Panics
    ///
    /// When the start would be without one.
    pub(crate) fn written_config(&self) -> PathBuf {
        self.write_config(self.config.as_deref().expect("a launch of `serve`"), ports::take())
    }

    /// Starts the program and waits until it is ready.
    ///
    /// # Panics
    ///
    /// When it ends or is not ready in time; the message has its output.
    pub(crate) fn start(self) -> Node {
        for _ in 0..PORT_ATTEMPTS {
            let ports = ports::take();
            let process = Process::spawn(&self, ports);
            match process.wait_until_ready(ports) {
                Ok(()) => return Node::new(self, ports, process),
                Err(why) if process.output.mentions("in use") => drop(why),
                Err(why) => panic!("{why}\n{}", process.output.tail()),
            }
        }
        panic!("no free ports in {PORT_ATTEMPTS} attempts");
    }

    /// Starts the program, for what it does before it is ready.
    pub(crate) fn start_without_waiting(self) -> Node {
        let ports = ports::take();
        let process = Process::spawn(&self, ports);
        let node = Node::new(self, ports, process);
        eventually("solera listens", READY_WITHIN, || Connection::open(node.address).ok());
        node
    }

    /// Starts the program and waits until it ends by itself, which it should.
    ///
    /// # Panics
    ///
    /// When it does not end in time; the message has its output.
    pub(crate) fn run_to_exit(self) -> Exit {
        let mut process = Process::spawn(&self, ports::take());
        let status = process.wait_for_exit();
        Exit { status, output: process.output.text() }
    }

    fn command_line(&self, ports: Ports) -> Command {
        const PROGRAM: &str = env!("CARGO_BIN_EXE_solera");
        let mut command = match &self.wrapper {
            Some(shell) => {
                let mut command = Command::new("sh");
                command.args(["-c", shell, "sh", PROGRAM]);
                command
            }
            None => Command::new(PROGRAM),
        };
        command.arg(self.command);
        match &self.config {
            Some(config) => command.arg("--config").arg(self.write_config(config, ports)),
            None => command.arg("--port-base").arg(ports.data.to_string()),
        };
        command.arg("--data-dir").arg(self.directory.path().join("data"));
        command.args(&self.arguments);
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn write_config(&self, config: &str, ports: Ports) -> PathBuf {
        let directory = self.directory.path();
        let mut text = config
            .replace("${PORT}", &ports.data.to_string())
            .replace("${ADMIN_PORT}", &ports.admin.to_string())
            .replace("${PEER_PORT}", &ports.peers.to_string())
            .replace("${DIR}", &directory.display().to_string());
        if !config.contains("listen_port") {
            text = format!("listen_address: 127.0.0.1\nlisten_port: {}\n{text}", ports.data);
        }
        let file = directory.join("config.yaml");
        fs::write(&file, text).expect("write the configuration");
        file
    }
}

/// Runs the program to its end with these arguments: exit code, and standard output and error.
pub(crate) fn program(arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_solera"));
    let output = command.args(arguments).stdin(Stdio::null()).output().expect("run solera");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// How a process ended that should not have stayed.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) status: ExitStatus,
    /// stdout, then stderr.
    pub(crate) output: String,
}

/// A running node. Dropping it kills the process and removes the directory, which stays when the test fails.
#[derive(Debug)]
pub(crate) struct Node {
    /// `http://127.0.0.1:port`, without a slash at the end.
    pub(crate) url: String,
    /// The data listener.
    pub(crate) address: SocketAddr,
    /// The admin listener.
    pub(crate) admin_address: SocketAddr,
    ports: Ports,
    // IMPORTANT: before `launch`, because fields are dropped in order: the process ends before its directory goes.
    process: Process,
    launch: Launch,
}

impl Node {
    /// A ready `solera dev`.
    pub(crate) fn dev() -> Self {
        Launch::dev().start()
    }

    /// A ready `solera serve` with this configuration; see [`Launch::serve`].
    pub(crate) fn serve(config: &str) -> Self {
        Launch::serve(config).start()
    }

    fn new(launch: Launch, ports: Ports, process: Process) -> Self {
        let address = loopback(ports.data);
        Self {
            url: format!("http://{address}"),
            address,
            admin_address: loopback(ports.admin),
            ports,
            process,
            launch,
        }
    }

    /// The node's own directory, as `--data-dir` names it.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.launch.directory.path().join("data")
    }

    /// A new connection to the data listener.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address).expect("connect to the node")
    }

    /// Sends exactly these bytes on a new connection and reads one answer.
    pub(crate) fn request(&self, raw: impl AsRef<[u8]>) -> Response {
        self.try_request(&raw).unwrap_or_else(|error| {
            let raw = String::from_utf8_lossy(raw.as_ref()).into_owned();
            panic!("no answer to {:?}: {error}\n{}", raw.chars().take(200).collect::<String>(), self.tail())
        })
    }

    /// As [`Node::request`], for a server that may be gone.
    ///
    /// # Errors
    ///
    /// As [`Connection::open`] and [`Connection::exchange`].
    pub(crate) fn try_request(&self, raw: impl AsRef<[u8]>) -> io::Result<Response> {
        Connection::open(self.address)?.exchange(raw)
    }

    /// `GET` of a target that is sent as it is.
    pub(crate) fn get(&self, target: &str) -> Response {
        self.request(message("GET", target, &[], b""))
    }

    /// `POST` to a target that is sent as it is.
    pub(crate) fn post(&self, target: &str, body: impl AsRef<[u8]>) -> Response {
        self.request(message("POST", target, &[("Content-Type", "application/octet-stream")], body.as_ref()))
    }

    /// `DELETE` of a target that is sent as it is.
    pub(crate) fn delete(&self, target: &str) -> Response {
        self.request(message("DELETE", target, &[], b""))
    }

    /// The lines of stdout since the first start, each parsed as JSON.
    ///
    /// # Panics
    ///
    /// When a line is no JSON: nothing but log lines belongs there.
    pub(crate) fn logs(&self) -> Vec<Value> {
        let parse = |line: &String| {
            serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("a JSON log line, not {line:?}: {error}"))
        };
        self.log_lines().iter().map(parse).collect()
    }

    /// The lines of stdout since the first start, as they came.
    pub(crate) fn log_lines(&self) -> Vec<String> {
        self.process.output.lock().stdout.clone()
    }

    /// All of stdout and stderr, for searches.
    pub(crate) fn output(&self) -> String {
        self.process.output.text()
    }

    /// Waits for a log line.
    ///
    /// # Panics
    ///
    /// When none comes; the message says that it was `what`.
    pub(crate) fn wait_for_log(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.wait_for_log_within(what, LOG_WITHIN, is_it)
    }

    /// The same, of what takes its time.
    pub(crate) fn wait_for_log_within(
        &self,
        what: &str,
        within: Duration,
        is_it: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + within;
        loop {
            if let Some(line) = self.logs().into_iter().find(&is_it) {
                return line;
            }
            assert!(Instant::now() < deadline, "no log line: {what}\n{}", self.tail());
            self.process.output.wait_for_more(POLL);
        }
    }

    /// A metric, by the beginning of its line.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub(crate) fn metric<T: FromStr>(&self, series: &str) -> T {
        let metrics = self.get("/metrics");
        let line = metrics.text().lines().find(|line| line.starts_with(series));
        let value = line.and_then(|line| line.split_whitespace().last()?.parse().ok());
        value.unwrap_or_else(|| panic!("no {series} in\n{}", metrics.text()))
    }

    /// How many log lines have these words, since the first start.
    pub(crate) fn logged(&self, words: &str) -> usize {
        self.log_lines().iter().filter(|line| line.contains(words)).count()
    }

    /// Whether the process has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    /// Ends the process at once, as a power cut would.
    pub(crate) fn kill9(&mut self) {
        self.process.kill();
    }

    /// Asks the process to end, and returns how it did.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.process.wait_for_exit()
    }

    /// Waits until the process ends by itself, and returns how it did.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    pub(crate) fn ends(&mut self) -> ExitStatus {
        self.process.wait_for_exit()
    }

    /// Starts the program again, which should refuse; its exit status.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    pub(crate) fn fails_to_start(&mut self) -> Option<i32> {
        self.start_again();
        self.process.wait_for_exit().code()
    }

    /// Starts the program again and does something over and over until it ends by itself; its exit status.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    pub(crate) fn starts_and_ends_while(&mut self, mut work: impl FnMut(&Self)) -> Option<i32> {
        self.start_again();
        eventually("solera ends", EXIT_WITHIN, || {
            work(self);
            self.process.has_ended().then_some(())
        });
        self.process.wait_for_exit().code()
    }

    /// The next start is without the line of shell.
    pub(crate) fn without_wrapper(mut self) -> Self {
        self.launch.wrapper = None;
        self
    }

    /// The next starts go through this line of shell, which finds program and arguments in `"$@"`.
    pub(crate) fn through(&mut self, shell: Option<&str>) {
        self.launch.wrapper = shell.map(str::to_owned);
    }

    /// The next starts have this file in place of the one before.
    pub(crate) fn configure(&mut self, change: impl FnOnce(&str) -> String) {
        let config = self.launch.config.take().expect("a launch of `serve`");
        self.launch.config = Some(change(&config));
    }

    /// The process. With a line of shell that does not fork but ends in `exec`, the program itself.
    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Sends a signal by name, such as `STOP` and `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &id]).status().expect("run kill");
        assert!(status.success(), "kill -s {name} {id}: {status}");
    }

    /// Starts the program again on the same directory and ports, and waits until it is ready. A process that still
    /// runs is killed first.
    pub(crate) fn restart(&mut self) {
        self.start_again();
        self.wait_until_ready();
    }

    /// As [`Node::restart`], without the wait: for what a node does while it starts.
    pub(crate) fn start_again(&mut self) {
        self.process.kill();
        let output = Arc::clone(&self.process.output);
        self.process = Process::spawn_into(&self.launch, self.ports, output);
    }

    /// Waits for the first 200 of `/readyz`.
    ///
    /// # Panics
    ///
    /// When it does not come in time; the message has the output.
    pub(crate) fn wait_until_ready(&self) {
        if let Err(why) = self.process.wait_until_ready(self.ports) {
            panic!("{why}\n{}", self.tail());
        }
    }

    /// Whether `/readyz` answers 200 now.
    pub(crate) fn is_ready(&self) -> bool {
        is_ready(self.address)
    }

    /// The last lines of output, for a message.
    pub(crate) fn tail(&self) -> String {
        self.process.output.tail()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.process.kill();
        if thread::panicking() {
            eprintln!("the data stay in {}\n{}", self.launch.directory.path().display(), self.tail());
        }
    }
}

/// The child and the threads that read it. Killed when dropped.
#[derive(Debug)]
struct Process {
    child: Child,
    output: Arc<Output>,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Process {
    fn spawn(launch: &Launch, ports: Ports) -> Self {
        Self::spawn_into(launch, ports, Arc::new(Output::default()))
    }

    fn spawn_into(launch: &Launch, ports: Ports, output: Arc<Output>) -> Self {
        let mut child = launch.command_line(ports).spawn().expect("start solera");
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let readers = vec![
            follow(stdout, Arc::clone(&output), |lines| &mut lines.stdout),
            follow(stderr, Arc::clone(&output), |lines| &mut lines.stderr),
        ];
        Self { child, output, readers }
    }

    fn wait_until_ready(&self, ports: Ports) -> Result<(), String> {
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            // Whether the data listener speaks TLS or not, the other one tells.
            if is_ready(loopback(ports.data)) || says_ready(loopback(ports.admin)) {
                return Ok(());
            }
            if self.has_ended() {
                return Err("solera ended before it was ready".to_owned());
            }
            self.output.wait_for_more(POLL);
        }
        Err(format!("solera was not ready within {READY_WITHIN:?}"))
    }

    /// Both pipes are closed: the child has exited, or is about to.
    fn has_ended(&self) -> bool {
        self.readers.iter().all(thread::JoinHandle::is_finished)
    }

    fn wait_for_exit(&mut self) -> ExitStatus {
        let status = eventually("solera ends", EXIT_WITHIN, || {
            self.child.try_wait().expect("ask for the child's end")
        });
        self.join_readers();
        status
    }

    fn kill(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.join_readers();
    }

    fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader of output does not panic");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The lines that a child wrote, over all its starts.
#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Lines>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    stdout: Vec<String>,
    stderr: Vec<String>,
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        // A panic of a test must not hide the output that explains it.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_more(&self, at_most: Duration) {
        let lines = self.lock();
        drop(self.arrived.wait_timeout(lines, at_most));
    }

    fn text(&self) -> String {
        let Lines { stdout, stderr } = &*self.lock();
        stdout.iter().chain(stderr).map(|line| format!("{line}\n")).collect()
    }

    fn mentions(&self, words: &str) -> bool {
        self.text().to_lowercase().contains(words)
    }

    fn tail(&self) -> String {
        let Lines { stdout, stderr } = &*self.lock();
        let last = |lines: &[String]| lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        format!("--- stdout\n{}\n--- stderr\n{}", last(stdout), last(stderr))
    }
}

fn follow(
    pipe: impl Read + Send + 'static,
    output: Arc<Output>,
    side: impl Fn(&mut Lines) -> &mut Vec<String> + Send + 'static,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut line), Ok(1..)) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
            side(&mut output.lock()).push(text);
            output.arrived.notify_all();
            line.clear();
        }
    })
}

fn is_ready(address: SocketAddr) -> bool {
    Connection::open(address)
        .and_then(|mut connection| connection.exchange(message("GET", "/readyz", &[], b"")))
        .is_ok_and(|response| response.status == 200)
}

fn says_ready(admin: SocketAddr) -> bool {
    Connection::open(admin)
        .and_then(|mut connection| connection.exchange(message("GET", "/v1/status", &[], b"")))
        .is_ok_and(|response| response.status == 200 && response.json()["ready"] == true)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A directory of one node's own, removed at the end of a test that passed.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn create() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("solera-test-{}-{}", process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(OsStr::new(&name));
        fs::create_dir_all(&path).expect("create a directory for the test");
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !thread::panicking() {
            // What is left behind in the system's directory for temporary files harms nobody.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}
