"""The figures of docs/benchmarks.md: a function for each, which can be run alone.

What is compared runs in interleaved rounds (A B A B ...) in one go on one machine, and every figure is the median of
the rounds with the lowest and the highest. Absolute numbers of two days or machines say nothing about each other.
"""

import argparse
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

PORT = 18900
PATIENCE_S = 180
"""How long a server may take to start or stop."""

SETTLE_S = 1200
"""How long a server may have something to do after the last write: cleaning a log of ten million records takes minutes."""


# -- figures ----------------------------------------------------------------------------------------------------------


def get(run):
    """GET of sessions that are there: CPU time a request, and p99 at half of the saturation, beside bare handlers."""
    keys, memory_mb = run.keys or (20_000 if run.small else 1_000_000), run.memory_mb or (64 if run.small else 1000)
    load = ["--keys", keys, "--size", 2048, "--mix", "get=1", "--distribution", "zipf:0.99", "--connections", 64]
    with run.node("get", memory_mb) as node, run.floor("axum") as axum, run.floor("hyper") as hyper:
        run.preload(node, keys, 2048)
        run.settle(node)
        servers = {"solera": node, "bare axum": axum, "bare hyper": hyper}
        full = run.rounds(servers, lambda server: run.bench(server, *load, "--rate", "max"))
        rate = statistics.median(report["rate"] for report in full["solera"]) / 2
        half = run.rounds(servers, lambda server: run.bench(server, *load, "--rate", round(rate)))
    run.say(f"GET hit, {keys} sessions of 2048 bytes, memory_mb {memory_mb}, zipf:0.99, 64 connections")
    for name, reports in full.items():
        run.row(f"{name}: CPU a request, closed loop", of(reports, "server", "cpu_us_per_request"), "us")
        run.row(f"{name}: saturation", of(reports, "rate"), "/s")
    for floor in ("bare axum", "bare hyper"):
        run.ratio(f"CPU a request, solera : {floor}", full["solera"], full[floor], "server", "cpu_us_per_request")
    for name, reports in half.items():
        run.row(f"{name}: p99 at {rate:.0f}/s, open loop", of(reports, "latency", "p99_us"), "us")
    for floor in ("bare axum", "bare hyper"):
        run.ratio(f"p99, solera : {floor}", half["solera"], half[floor], "latency", "p99_us")


def post(run):
    """POST: one after the other beside a bare loop of fdatasync, 64 at a time beside that and a disk of memory."""
    keys = 10_000
    load = ["--keys", keys, "--size", 2048, "--mix", "post=1", "--distribution", "uniform", "--rate", "max", "--sparse"]
    with run.node("post", 320) as disk, run.node("post-memory", 320, Path("/dev/shm")) as memory:
        things = {
            "fdatasync": lambda: run.fdatasync(2048),
            "one": lambda: run.bench(disk, *load, "--connections", 1),
            "many": lambda: run.bench(disk, *load, "--connections", 64),
            "many, memory": lambda: run.bench(memory, *load, "--connections", 64),
        }
        out = run.rounds(things, lambda thing: thing())
    floor = out["fdatasync"]
    run.say("POST, overwrites of 2048 bytes")
    run.row("bare loop of write and fdatasync: p50", of(floor, "p50_us"), "us")
    run.row("one connection: p50", of(out["one"], "latency", "p50_us"), "us")
    run.pairs("p50, one connection : bare loop", of(out["one"], "latency", "p50_us"), of(floor, "p50_us"))
    run.row("bare loop: rate", of(floor, "rate"), "/s")
    run.row("64 connections: rate", of(out["many"], "rate"), "/s")
    run.pairs("rate, 64 connections : 20 bare loops", of(out["many"], "rate"), [20 * n for n in of(floor, "rate")])
    # There is no switch for a log in memory: a disk that syncs at once comes nearest.
    run.row("64 connections, data in /dev/shm: rate", of(out["many, memory"], "rate"), "/s")
    run.ratio("rate, 64 connections, disk : /dev/shm", out["many"], out["many, memory"], "rate")
    run.row("64 connections: CPU a request", of(out["many"], "server", "cpu_us_per_request"), "us")


def space(run):
    """What is left on the disk of sessions that were overwritten again and again, within 60 s after the last write."""
    keys, times, within_s = (2_000, 5, 15) if run.small else (100_000, 50, 60)
    keys = run.keys or keys
    with run.node("space", 320) as node:
        for _ in range(times):
            run.preload(node, keys, 2048)
        ended = time.monotonic()
        # The node looks at its files every 10 s, so the last look is what the time allows.
        time.sleep(max(0, ended + within_s - time.monotonic()))
        metrics = node.metrics()
        log, view, live = (metrics[f"solera_{what}_bytes"] for what in ("log", "view", "live"))
        on_disk = node.disk_bytes()
    run.say(f"{keys} sessions of 2048 bytes, overwritten {times} times: bytes on the disk : live bytes ({live:.0f})")
    run.row(f"log, {within_s} s after the last write", [log / live], "")
    run.row(f"view, {within_s} s after the last write", [view / live], "")
    run.row("log and view together", [(log + view) / live], "")
    run.row("all files of log and view, write-ahead log and journals of RocksDB included", [on_disk / live], "")


def memory(run):
    """Resident memory: empty, with sessions, and under a flood of new ones."""
    keys, flood_s = (5_000, 5) if run.small else (100_000, 120)
    keys, memory_mb = run.keys or keys, run.memory_mb or 320
    with run.node("memory", memory_mb) as node:
        empty = node.rss_mib()
        run.preload(node, keys, 4096)
        run.settle(node)
        idle = node.rss_mib()
        cpu = node.cpu_share(5)
        load = ["--keys", keys, "--size", 4096, "--mix", "new=1", "--rate", "max", "--connections", 64]
        flood = run.bench(node, *load, seconds=flood_s, warmup=0)
    run.say(f"Resident memory, memory_mb {memory_mb}, {keys} sessions of 4096 bytes")
    run.row("empty, idle", [empty], "MiB")
    run.row("all sessions written, idle", [idle], "MiB")
    run.row("all sessions written, idle: CPU", [cpu * 100], "% of a core")
    run.row(f"after {flood_s} s of new sessions", [flood["server"]["rss_bytes"] / 2**20], "MiB")
    run.row("most that it ever was", [flood["server"]["rss_peak_bytes"] / 2**20], "MiB")
    run.row("new sessions meanwhile", [flood["rate"]], "/s")


def start(run):
    """From the start of the process to the first 200 of /readyz: with nothing, and after kill -9 with sessions."""
    keys = run.keys or (10_000 if run.small else 1_000_000)
    cold = []
    for number in range(run.round_count):
        with run.node(f"start-{number}", 320) as node:
            cold.append(node.ready_ms)
    killed = []
    with run.node("start-full", 320) as node:
        run.preload(node, keys, 1024)
        for _ in range(run.round_count):
            # So that there is always something that no flush has seen yet.
            load = ["--keys", keys, "--size", 1024, "--mix", "post=1", "--rate", 1000]
            run.bench(node, *load, seconds=2, warmup=0)
            node.kill()
            node.start()
            killed.append(node.ready_ms)
    run.say("From the start of the process to /readyz 200")
    run.row("empty data directory", cold, "ms")
    run.row(f"after kill -9, {keys} sessions of 1024 bytes", killed, "ms")


def rebuild(run):
    """A view that is gone, made again from all of the log and from a checkpoint, beside a bare loop that reads and puts."""
    keys = run.keys or (10_000 if run.small else 1_000_000)
    full, short_, bare, folding = [], [], [], []
    with run.node("rebuild", 320) as node:
        run.preload(node, keys, 1024)
        for number in range(run.round_count):
            node.order("checkpoint")
            node.kill()
            shutil.rmtree(node.data / "view")
            node.start()
            short_.append(node.ready_ms / 1000)
            run.settle(node)
            node.stop()
            bare.append(run.json([run.program, "bench", "--floor", "replay", "--dir", node.data, "--json"])["seconds"])
            shutil.rmtree(node.data / "view")
            shutil.rmtree(node.data / "checkpoints")
            node.start()
            full.append(node.ready_ms / 1000)
            run.settle(node)
            began = time.monotonic()
            node.order("rebuild")
            folding.append(time.monotonic() - began)
            run.settle(node)
    run.say(f"A view of {keys} sessions of 1024 bytes, made again")
    run.row("bare loop that reads the log and puts", bare, "s")
    run.row("start without a view, to /readyz 200", full, "s")
    run.pairs("pace, start : bare loop", bare, full)
    run.row("`solera rebuild` beside the view that is served", folding, "s")
    run.pairs("pace, rebuild : bare loop", bare, folding)
    run.row("start from a checkpoint, to /readyz 200", short_, "s")
    run.pairs("full : from a checkpoint", full, short_)


def tombstones(run):
    """Deletes of sessions that never were: what they cost on the disk, and what reads cost among them."""
    wanted = run.keys or (50_000 if run.small else 10_000_000)
    sessions = 2_000 if run.small else 100_000
    load = ["--keys", sessions, "--size", 2048, "--mix", "get=1", "--distribution", "uniform", "--rate", 5000]
    with run.node("tombstones", 320) as node:
        run.preload(node, sessions, 2048)
        run.settle(node)
        disk = node.disk_bytes()
        before = run.rounds({"before": node}, lambda server: run.bench(server, *load))["before"]
        # Of so many that hardly any is deleted twice.
        strangers = ["--keys", 4 * wanted, "--mix", "delete=1", "--distribution", "uniform", "--rate", "max", "--sparse"]
        began = time.monotonic()
        while node.metrics()["solera_tombstones"] < wanted:
            run.bench(node, *strangers, "--connections", 256, seconds=10, warmup=0)
            run.seed += 1
        took = time.monotonic() - began
        # Some were among those that are read.
        run.preload(node, sessions, 2048)
        run.settle(node)
        metrics = node.metrics()
        after = run.rounds({"after": node}, lambda server: run.bench(server, *load))["after"]
        cost = node.disk_bytes() - disk
    run.say(f"{metrics['solera_tombstones']:.0f} tombstones beside {sessions} sessions of 2048 bytes")
    run.row("deletes", [metrics["solera_tombstones"] / took], "/s")
    run.row("**disk, log and view**", [cost / 1e9], "GB")
    run.row("of it, the view", [metrics["solera_view_bytes"] / 1e9], "GB")
    run.row("GET p99 before, 5,000/s", of(before, "latency", "p99_us"), "us")
    run.row("GET p99 among them", of(after, "latency", "p99_us"), "us")
    run.ratio("GET p99, after : before", after, before, "latency", "p99_us")


FIGURES = {figure.__name__: figure for figure in (get, post, space, memory, start, rebuild, tombstones)}


# -- measuring --------------------------------------------------------------------------------------------------------


class Run:
    """One run of the script: what was asked for, and what came out."""

    def __init__(self, asked):
        self.program, self.small = asked.program, asked.small
        self.keys, self.memory_mb = asked.keys, asked.memory_mb
        self.round_count = asked.rounds or (2 if asked.small else 5)
        self.seed = 1
        self.seconds = asked.seconds or (2 if asked.small else 20)
        self.dir = Path(tempfile.mkdtemp(prefix="solera-figures-", dir=asked.dir))
        self.raw, self.ports = {}, iter(range(PORT, PORT + 900))

    @contextmanager
    def node(self, name, memory_mb, under=None):
        """A node with an empty data directory. It is stopped, and its data removed, at the end."""
        folder = Path(tempfile.mkdtemp(prefix=f"solera-{name}-", dir=under or self.dir))
        node = Node(self.program, folder, next(self.ports), memory_mb)
        try:
            node.start()
            yield node
        finally:
            node.stop()
            shutil.rmtree(folder)

    @contextmanager
    def floor(self, kind):
        """A bare handler that returns 2 KB to every GET."""
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
            is_quiet = node.cpu_share(2) < 0.02
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

    def say(self, title):
        print(f"\n{title}\n\n| | median | lowest - highest |\n|---|---|---|")
        self.title = title

    def row(self, name, values, unit):
        self.raw.setdefault(self.title, {})[f"{name} ({unit})" if unit else name] = values
        low, high = min(values), max(values)
        spread = f"{short(low)} - {short(high)}" if 1 < len(values) else ""
        print(f"| {name} | {short(statistics.median(values))} {unit} | {spread} |", flush=True)

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

    def __init__(self, program, folder, port, memory_mb):
        super().__init__(f"http://127.0.0.1:{port}/sessions/v1/", None)
        self.program, self.folder, self.port, self.data = program, folder, port, folder / "data"
        for name in ("index", "ring"):
            (folder / name).write_text(secrets.token_hex(32))
            (folder / name).chmod(0o600)
        (folder / "config.yaml").write_text(
            f"listen_address: 127.0.0.1\nlisten_port: {port}\nbase_uri: /sessions/v1\nlog_level: warning\n"
            f"dc: figures\ndata_dir: {self.data}\nmemory_mb: {memory_mb}\n"
            f"secrets:\n  index: {{ file: {folder}/index }}\n  ring: [ {{ id: 1, file: {folder}/ring }} ]\n"
        )
        self.process = None

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

    def order(self, task):
        """Has a job done, and waits for its end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port + 1000, timeout=5)
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
                time.sleep(0.005)
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
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.kill()


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


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="\n".join(f"{name:8} {figure.__doc__}" for name, figure in FIGURES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)}; all without one")
    parser.add_argument("--program", required=True, help="solera, built without debug assertions")
    parser.add_argument("--dir", default=".", help="a folder on the disk to measure; 10 GB are enough (default: .)")
    parser.add_argument("--small", action="store_true", help="minutes in place of an hour: shows that it works")
    parser.add_argument("--keys", type=int, help="sessions, in place of each figure's own number")
    parser.add_argument("--memory-mb", type=int, help="memory_mb of get (1000) and memory (320)")
    parser.add_argument("--rounds", type=int, help="rounds of each comparison (5)")
    parser.add_argument("--seconds", type=int, help="seconds of each measurement (20)")
    parser.add_argument("--json", help="a file for the values of all rounds")
    asked = parser.parse_args()
    for name in asked.figures:
        if name not in FIGURES:
            parser.error(f"{name} is none of {', '.join(FIGURES)}")
    run = Run(asked)
    try:
        print(machine(run.dir))
        if 0.3 < os.getloadavg()[0]:
            print("warning: something else is at work on this machine", file=sys.stderr)
        for name in asked.figures or FIGURES:
            print(name, file=sys.stderr)
            FIGURES[name](run)
    finally:
        shutil.rmtree(run.dir)
        if asked.json:
            Path(asked.json).write_text(json.dumps(run.raw, indent=2) + "\n")


if __name__ == "__main__":
    main()
