"""What the figures are measured with: servers, brokers, floors and rounds."""

import http.client
import json
import os
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent

PORT = 18900

DC = "figures"
"""The data centre of all nodes, with which the names of topics begin."""

PATIENCE_S = 180
"""How long a server may take to start or stop."""

SETTLE_S = 1200
"""How long a server may have something to do after the last write: cleaning a log of ten million records takes minutes."""

QUIET_CORES = 0.05
"""What a server uses at most that has nothing to do: a node with two stores on Kafka takes 0.015."""

LIMITS = "limits: { request_timeout_ms: 20000 }\n"
"""Whatever stalls is to be seen as a time, not as a request that fails and ends the run."""

PARTITIONS = 4
"""Of each topic of Kafka. More make smaller batches, of Solera's and of the floors alike."""


class Run:
    """One run of the script: what was asked for, and what came out."""

    def __init__(self, asked):
        self.program, self.small = asked.program, asked.small
        self.keys, self.memory_mb = asked.keys, asked.memory_mb
        self.asked_rounds, self.asked_seconds = asked.rounds, asked.seconds
        self.seed = 1
        self.dir = Path(tempfile.mkdtemp(prefix="solera-figures-", dir=asked.dir))
        self.raw, self.ports = {}, iter(range(PORT, PORT + 900))

    def defaults(self, rounds, seconds):
        """How many rounds, and how many seconds of a measurement, unless something else was asked for."""
        self.round_count = self.asked_rounds or (2 if self.small else rounds)
        self.seconds = self.asked_seconds or (2 if self.small else seconds)

    @contextmanager
    def node(self, name, memory_mb, under=None):
        """A node with an empty data directory. It is stopped, and its data removed, at the end."""
        folder = Path(tempfile.mkdtemp(prefix=f"solera-{name}-", dir=under or self.dir))
        config = f"base_uri: /sessions/v1\nmemory_mb: {memory_mb}\n{make_secrets(folder)}"
        node = Node(self.program, folder, next(self.ports), config)
        try:
            node.start()
            yield node
        finally:
            node.stop()
            shutil.rmtree(folder)

    @contextmanager
    def kafka(self):
        """A broker from Kafka's jars, with a topic for each read consistency and one for the floors."""
        folder = Path(tempfile.mkdtemp(prefix="solera-kafka-", dir=self.dir))
        kafka = Kafka(self, folder, next(self.ports))
        try:
            kafka.start()
            yield kafka
        finally:
            kafka.stop()
            shutil.rmtree(folder)

    @contextmanager
    def floor(self, kind):
        """A bare handler that returns 2 KB to every GET, and takes every POST."""
        command = [self.program, "bench", "--serve", kind, "--listen", "127.0.0.1:0", "--size", "2048"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            yield Server(process.stdout.readline().strip(), process.pid)
        finally:
            process.kill()
            process.wait()

    def bench(self, server, *arguments, seconds=None, warmup=2):
        """The report of `solera bench`. Whatever is wrong with an answer ends the run."""
        time_of = ["--duration", f"{seconds or self.seconds}s", "--warmup", f"{warmup}s"]
        command = [self.program, "bench", server.url, "--json", "--server-pid", server.pid, "--seed", self.seed]
        command += [*time_of, *arguments]
        return self.json(command)

    def fdatasync(self, size):
        """A loop that appends to a file and syncs, on the same disk."""
        duration = f"{self.seconds}s"
        return self.json(
            [self.program, "bench", "--floor", "fdatasync", "--dir", self.dir, "--size", size, "--json",
             "--duration", duration]
        )

    def preload(self, server, keys, size):
        """Writes every session once."""
        command = [self.program, "bench", server.url, "--json", "--preload", "--keys", keys, "--size", size]
        self.json([*command, "--connections", 256, "--duration", 0, "--timeout", "30s"])

    def json(self, command):
        ended = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            sys.exit(f"{' '.join(map(str, command))}\n{ended.stdout}{ended.stderr}")
        return json.loads(ended.stdout)

    def settle(self, node):
        """Waits until the node has nothing more to do: flushes and compactions follow the writes, and a view that rests for
        two looks, 10 s apart, is compacted."""
        deadline, quiet_since = time.monotonic() + SETTLE_S, None
        while quiet_since is None or time.monotonic() < quiet_since + 22:
            if deadline < time.monotonic():
                sys.exit(f"the node still works {SETTLE_S} s after the last write")
            is_quiet = node.cpu_share(2) < QUIET_CORES
            quiet_since = (quiet_since or time.monotonic()) if is_quiet else None

    def rounds(self, things, measure):
        """Measures each of the things in turn, round by round: name to the results."""
        results = {name: [] for name in things}
        for number in range(self.round_count):
            # The same draws again would find everything in the caches that they filled.
            self.seed += 1
            print(f"  round {number + 1} of {self.round_count}: {', '.join(things)}", file=sys.stderr)
            for name, thing in things.items():
                results[name].append(measure(thing))
        return results

    def say(self, title, columns=("median", "lowest - highest")):
        print(f"\n{title}\n\n| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
        self.title = title

    def row(self, name, values, unit):
        self.raw.setdefault(self.title, {})[f"{name} ({unit})" if unit else name] = values
        low, high = min(values), max(values)
        spread = f"{short(low)} - {short(high)}" if 1 < len(values) else ""
        print(f"| {name} | {short(statistics.median(values))} {unit} | {spread} |", flush=True)

    def columns(self, name, values):
        """A row of several figures, each with its lowest and its highest."""
        self.raw.setdefault(self.title, {})[name] = values
        cells = [f"{short(statistics.median(v))} ({short(min(v))} - {short(max(v))})" for v in values.values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)

    def ratio(self, name, ours, theirs, *path):
        self.pairs(name, of(ours, *path), of(theirs, *path))

    def pairs(self, name, ours, theirs):
        """The ratio, round by round."""
        self.row(f"**{name}**", [mine / other for mine, other in zip(ours, theirs)], "")


class Server:
    """A process that answers at a URL."""

    def __init__(self, url, pid):
        self.url, self.pid = url, pid

    def cpu_share(self, seconds):
        """Cores that it uses, over so many seconds from now."""
        before = self.ticks()
        time.sleep(seconds)
        return (self.ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds

    def ticks(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def rss_mib(self):
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


class Node(Server):
    """A node with a data directory of its own."""

    def __init__(self, program, folder, port, config, dc=DC):
        """`config` is all of the configuration but what is this node's own."""
        super().__init__(f"http://127.0.0.1:{port}/sessions/v1/", None)
        self.program, self.folder, self.port, self.data = program, folder, port, folder / "data"
        (folder / "config.yaml").write_text(
            f"listen_address: 127.0.0.1\nlisten_port: {port}\nlog_level: warning\n"
            f"dc: {dc}\ndata_dir: {self.data}\n{config}"
        )
        self.process = None

    def store(self, name):
        """One of several stores of the node, to be loaded while it runs as it does now."""
        return Server(f"http://127.0.0.1:{self.port}/{name}/v1/", self.pid)

    def start(self):
        """Returns when it is ready; `ready_ms` says how long that took."""
        began = time.monotonic()
        command = [self.program, "serve", "--config", self.folder / "config.yaml"]
        with open(self.folder / "output", "ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        self.pid = self.process.pid
        while not self.is_ready():
            if self.process.poll() is not None or began + PATIENCE_S < time.monotonic():
                sys.exit(f"the node did not start:\n{(self.folder / 'output').read_text()}")
            time.sleep(0.001)
        self.ready_ms = (time.monotonic() - began) * 1000

    def is_ready(self):
        try:
            return self.ask("/readyz")[0] == 200
        except OSError:
            return False

    def ask(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metrics(self):
        """Name to value, summed over stores."""
        values = {}
        for name, value in re.findall(r"^(solera_\w+)(?:{.*})? (\S+)$", self.ask("/metrics")[1], re.MULTILINE):
            values[name] = values.get(name, 0) + float(value)
        return values

    def time_order(self, task, look_every_s=0.005):
        """The same as `order`, and how many seconds it took."""
        began = time.monotonic()
        self.order(task, look_every_s)
        return time.monotonic() - began

    def order(self, task, look_every_s=0.005):
        """Has a job done, and waits for its end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port + 1000, timeout=PATIENCE_S)
        try:
            connection.request("POST", f"/v1/{task}")
            answer = connection.getresponse()
            said, where = answer.read().decode(), answer.headers.get("Location")
            while answer.status in (200, 202):
                job = json.loads(said)
                if job["state"] == "done":
                    return
                if job["state"] != "running":
                    break
                time.sleep(look_every_s)
                connection.request("GET", where)
                answer = connection.getresponse()
                said = answer.read().decode()
            sys.exit(f"the node did not {task}: {said}")
        finally:
            connection.close()

    def disk_bytes(self):
        """Blocks of log and view that are in use."""
        files = [file for part in ("log", "view") for file in (self.data / part).rglob("*") if file.is_file()]
        return sum(file.stat().st_blocks * 512 for file in files)

    def kill(self):
        """As a power cut ends a process."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        end(self.process)


class Broker:
    """One broker from Kafka's jars."""

    def __init__(self, run, folder, port):
        self.run, self.folder, self.port = run, folder, port
        self.process = None

    def start(self, config):
        """Returns when the topics of this configuration are there."""
        subprocess.run([SCRIPTS / "kafka-fetch.sh"], stdout=subprocess.DEVNULL, check=True)
        self.folder.mkdir(exist_ok=True)
        command = [SCRIPTS / "kafka-broker.sh", self.folder / "broker", str(self.port)]
        with open(self.folder / "output", "wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        file = self.folder / "topics.yaml"
        file.write_text(f"data_dir: {self.folder}/none\n{config}")
        apply = [self.run.program, "topics", "apply", "--config", file]
        began = time.monotonic()
        while (ended := subprocess.run(apply, capture_output=True, text=True, check=False)).returncode != 0:
            if self.process.poll() is not None or began + PATIENCE_S < time.monotonic():
                said = (self.folder / "output").read_text()
                sys.exit(f"there are no topics:\n{said}{ended.stdout}{ended.stderr}")
            time.sleep(0.5)

    def log_config(self):
        """What a configuration says of it."""
        return f"log:\n  kafka: {{ bootstrap_servers: '127.0.0.1:{self.port}', replication: 1, partitions: {PARTITIONS} }}\n"

    def floor_command(self, kind, topic):
        place = ["--bootstrap-servers", f"127.0.0.1:{self.port}", "--topic", topic]
        return [self.run.program, "bench", "--floor", kind, *place, "--json"]

    def floor(self, kind, topic, many, *arguments):
        """The report of a floor at which so many wait at the same time."""
        command = [*self.floor_command(kind, topic), *arguments]
        command += ["--connections", many, "--size", 2048, "--duration", f"{self.run.seconds}s", "--warmup", "1s"]
        return self.run.json(command)

    def stop(self):
        end(self.process)


class Kafka(Broker):
    """A broker, and the nodes and floors that are measured on it."""

    def __init__(self, run, folder, port):
        super().__init__(run, folder, port)
        self.secrets = make_secrets(folder)

    def start(self):
        stores = {"dc": "dc", "node": "node", "floor": "node"}
        super().start(f"dc: {DC}\n{self.config(stores)}")

    def config(self, stores):
        """What all nodes have in common: stores by name, with their read consistency."""
        lines = [f"  {name}: {{ base_uri: /{name}/v1, read_consistency: {of} }}\n" for name, of in stores.items()]
        return f"{self.log_config()}{LIMITS}{self.secrets}stores:\n{''.join(lines)}"

    @contextmanager
    def node(self, stores=None):
        """A node with a store for each read consistency, or with these."""
        folder = Path(tempfile.mkdtemp(prefix="node-", dir=self.folder))
        node = Node(self.run.program, folder, next(self.run.ports), self.config(stores or {"dc": "dc", "node": "node"}))
        try:
            node.start()
            yield node
        finally:
            node.stop()

    def warm_up(self, node):
        warm_up(self.run, node.store("dc"))

    def floor_command(self, kind, store):
        return super().floor_command(kind, f"{DC}.{store}")


def warm_up(run, server):
    """The broker is a Java program: it gets quick by being used. After ten seconds of this its compiler still took a
    quarter of the machine."""
    load = ["--keys", 10_000, "--size", 2048, "--mix", "post=1", "--rate", "max", "--sparse"]
    for many, seconds in ((64, 45), (1, 15)):
        run.bench(server, *load, "--connections", many, seconds=2 if run.small else seconds, warmup=0)


def visible(run, written, read):
    """How soon a node shows what another was given. Three times as long as the rest, since only one is written at a time,
    and the slowest of a hundred count."""
    command = [run.program, "bench", written.url, "--visible-at", read.url, "--size", 2048, "--json"]
    return run.json([*command, "--duration", f"{3 * run.seconds}s", "--warmup", "1s"])


def end(process):
    """As an operator ends a process; or however, if that does nothing."""
    if process and process.poll() is None:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def make_secrets(folder):
    """Makes them, and returns what a configuration says of them."""
    for name in ("index", "ring"):
        (folder / name).write_text(secrets.token_hex(32))
        (folder / name).chmod(0o600)
    return f"secrets:\n  index: {{ file: {folder}/index }}\n  ring: [ {{ id: 1, file: {folder}/ring }} ]\n"


def sums(*figures):
    """Round by round."""
    return [sum(values) for values in zip(*figures)]


def of(reports, *path):
    """One number of each report."""
    values = []
    for report in reports:
        for name in path:
            report = report[name]
        values.append(report)
    return values


def short(value):
    return f"{value:,.0f}" if 100 <= abs(value) else f"{value:.3g}"


def machine(folder):
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory_kb = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1])
    where = subprocess.run(["df", "--output=fstype,source", folder], capture_output=True, text=True, check=True)
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return (
        f"Machine: {os.cpu_count()} cores, {model[1] if model else 'unknown'}, {memory_kb / 2**20:.0f} GiB, "
        f"{' '.join(where.stdout.split()[2:])}, Linux {os.uname().release}; "
        f"load average at the start {os.getloadavg()[0]:.2f}; commit {commit.stdout.strip() or 'unknown'}; "
        "profile ci without debug assertions"
    )
