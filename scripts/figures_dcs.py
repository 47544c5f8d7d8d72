"""The figures of several data centres: a broker and a node in each, and cables between them that delay and are cut."""

import asyncio
import http.client
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from measuring import LIMITS, PATIENCE_S, SCRIPTS, Broker, Node, end, make_secrets, of, sums, visible, warm_up

NAMES = ["eqiad", "codfw", "esams"]

ONE_WAY_MS = 15

SUSPECT_MS = 50
"""Within this time a delete is answered when it is known that another data centre does not answer."""


def dcs_delete(run):
    """DELETE in one data centre, and over two and three, 30 ms there and back, beside what each has to wait for on its Kafka."""
    run.defaults(rounds=5, seconds=10)
    # Of two deletes of one session at a time one takes a second round: which sessions are deleted is of even chance.
    load = ["--keys", 100_000, "--distribution", "uniform", "--size", 2048, "--mix", "delete=1", "--rate", 100, "--sparse"]
    for count in (1, 2, 3):
        with data_centres(run, count) as dcs:
            for dc in dcs:
                warm_up(run, dc.node)
                dc.broker.floor("kafka-seen", f"{dc.name}.floor", 1)
            run.bench(dcs[0].node, *load, seconds=2 if run.small else 60, warmup=0)
            us, others = dcs[0], dcs[1:]
            ms = [2 * ONE_WAY_MS * (1 + number) for number in range(len(others))]
            for other, there_and_back in zip(others, ms):
                us.cables[other.name].delay_ms = there_and_back / 2
            things = {
                "query": partial(us.broker.floor, "kafka-ends", "eqiad.sessions", 1),
                "seen": partial(us.broker.floor, "kafka-seen", "eqiad.floor", 1),
                "delete": partial(run.bench, us.node, *load),
            }
            if others:
                things["way"] = partial(exchanges, run, us.cables[others[-1].name])
            out = run.rounds(things, lambda thing: thing())
        slowest = max(ms, default=0) * 1000
        there_and_back = ", " + " and ".join(f"{n} ms" for n in ms) + " there and back" if ms else ""
        run.say(f"DELETE over {count} data centre{'s' if others else ''} on Kafka, 100/s{there_and_back}")
        for quantile, asked in (("p50", 1.3), ("p99", 2)):
            query, seen = of(out["query"], "ends", f"{quantile}_us"), of(out["seen"], "seen", f"{quantile}_us")
            delete = of(out["delete"], "by_method", "delete", f"{quantile}_us")
            run.row(f"bare end-offset query, {quantile}", query, "us")
            run.row(f"bare produce to consume, {quantile}", seen, "us")
            run.row(f"DELETE, {quantile}", delete, "us")
            floors = sums(query, seen)
            run.pairs(f"DELETE beyond the slowest way : query + produce to consume, {quantile} ({asked})",
                      [us - slowest for us in delete], floors)
            if others:
                way = of(out["way"], f"{quantile}_us")
                run.row(f"bare exchange over that way, {quantile}", way, "us")
                beyond = [us - there_and_back for us, there_and_back in zip(delete, way)]
                run.pairs(f"DELETE beyond that exchange : query + produce to consume, {quantile}", beyond, floors)


def exchanges(run, cable):
    """What a question and an answer take over a cable, 100 a second, that a peer listener refuses without a look at anything."""
    request = b"GET /v1/hello HTTP/1.1\r\nHost: peer\r\n\r\n"
    times, ends = [], time.monotonic() + run.seconds
    with socket.create_connection(("127.0.0.1", cable.port), timeout=PATIENCE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.monotonic() < ends:
            began = time.monotonic()
            connection.sendall(request)
            answer = connection.recv(65536)
            times.append((time.monotonic() - began) * 1e6)
            if not answer.startswith(b"HTTP/1.1 403"):
                sys.exit(f"a stranger was answered {answer[:40]}")
            time.sleep(0.01)
    percentiles = statistics.quantiles(times, n=100)
    return {"p50_us": percentiles[49], "p99_us": percentiles[98]}


def dcs_cut(run):
    """A data centre that does not answer: how soon a DELETE says so, and GET and POST of the other one meanwhile."""
    run.defaults(rounds=7, seconds=10)
    load = ["--keys", 10_000, "--size", 2048, "--mix", "get=74,post=25", "--rate", 1000]
    deletes = {"whole": [], "cut": []}
    with data_centres(run, 2) as (us, other), ThreadPoolExecutor(1) as background:
        warm_up(run, us.node)
        warm_up(run, other.node)
        run.preload(us.node, 10_000, 2048)

        def measure(state):
            us.cables[other.name].is_cut = state == "cut"
            expected = 503 if state == "cut" else 204
            wait_until(f"deletes are answered {expected}", lambda: is_answered_so(us.node, expected))
            stop = threading.Event()
            deleting = background.submit(delete_until, us.node, expected, stop)
            try:
                return run.bench(us.node, *load)
            finally:
                stop.set()
                deletes[state].append(deleting.result())

        out = run.rounds({"whole": "whole", "cut": "cut"}, measure)
    run.say("Two data centres on Kafka, one of which takes what it is sent and never answers; 20 deletes a second")
    for state, times in deletes.items():
        run.row(f"DELETE, {state}: median", [statistics.median(ms) for ms in times], "ms")
        run.row(f"DELETE, {state}: slowest of each round", [max(ms) for ms in times], "ms")
    slow = [sum(SUSPECT_MS < ms for ms in times) / len(times) for times in deletes["cut"]]
    run.row(f"DELETE, cut: share above {SUSPECT_MS} ms", slow, "")
    for method in ("get", "post"):
        times = {state: of(reports, "by_method", method, "p99_us") for state, reports in out.items()}
        for state, values in times.items():
            run.row(f"{method.upper()} p99, {state}", values, "us")
        run.pairs(f"{method.upper()} p99, cut : whole (1.1)", times["cut"], times["whole"])


def dcs_slo(run):
    """The objectives of docs/slo.md: a busy site's mix in one of two data centres, mirrored both ways, 30 ms there and back."""
    run.defaults(rounds=3, seconds=20)
    keys = 1_000 if run.small else 100_000
    # What Wikimedia's core sessions ask: 1,500 GETs, 500 POSTs and 25 DELETEs a second.
    load = ["--keys", keys, "--size", 2048, "--mix", "get=74,post=25,delete=1", "--sparse"]
    with data_centres(run, 2) as (us, other), mirror(run, us, other), mirror(run, other, us):
        warm_up(run, us.node)
        warm_up(run, other.node)
        for here, there in ((us, other), (other, us)):
            wait_until("a session arrives", lambda: arrives(here.node, there.node))
            here.cables[there.name].delay_ms = ONE_WAY_MS
        run.preload(us.node, keys, 2048)
        run.settle(us.node)
        rates = {f"{rate:,}/s": rate for rate in (500, 2_000)}
        out = run.rounds(rates, lambda rate: run.bench(us.node, *load, "--rate", rate))
    run.say("Requests to one of two data centres on Kafka, 30 ms apart, microseconds", ("mean", "p90", "p99"))
    for rate, reports in out.items():
        for method in ("get", "post", "delete"):
            times = {name: of(reports, "by_method", method, f"{name}_us") for name in ("mean", "p90", "p99")}
            run.columns(f"{method.upper()}, {rate}", times)


def dcs_mirror(run):
    """From a write in one data centre to a read in the other, at 500 writes a second, beside MirrorMaker alone."""
    run.defaults(rounds=5, seconds=10)
    load = ["--keys", 10_000, "--size", 2048, "--mix", "post=1", "--rate", 500]
    with data_centres(run, 2) as (us, other), mirror(run, us, other), ThreadPoolExecutor(1) as background:
        warm_up(run, us.node)
        wait_until("a session arrives", lambda: arrives(us.node, other.node))
        servers = f"127.0.0.1:{other.broker.port}"
        things = {
            "mirror": partial(us.broker.floor, "kafka-seen", "eqiad.floor", 1, "--seen-at", servers),
            "view": partial(visible, run, us.node, other.node),
        }

        def measure(thing):
            # Three times as long as a measurement is the longest of them.
            loading = background.submit(run.bench, us.node, *load, seconds=3 * run.seconds + 2, warmup=0)
            time.sleep(1)
            report = thing()
            loading.result()
            return report

        measure(things["mirror"])
        out = run.rounds(things, measure)
    run.say("From eqiad to codfw by MirrorMaker, at 500 writes of 2048 bytes a second")
    for quantile in ("p50", "p99"):
        bare = of(out["mirror"], "seen", f"{quantile}_us")
        view = of(out["view"], "visible", f"{quantile}_us")
        run.row(f"bare: produced in eqiad to consumed in codfw, {quantile}", bare, "us")
        run.row(f"written in eqiad to read in codfw, {quantile}", view, "us")
        run.pairs(f"read : consumed, {quantile} (2 at p50)", view, bare)


class Dc:
    """A data centre: a broker, a node, and cables to the others by name."""

    def __init__(self, name, broker, node, cables):
        self.name, self.broker, self.node, self.cables = name, broker, node, cables


@contextmanager
def data_centres(run, count):
    """So many of them, whose nodes are ready. No mirror runs between them."""
    folder = Path(tempfile.mkdtemp(prefix="solera-dcs-", dir=run.dir))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        secrets, loop = make_secrets(folder), stack.enter_context(event_loop())
        names = NAMES[:count]
        peer_ports = {name: next(run.ports) for name in names}
        dcs = []
        for name in names:
            others = [other for other in names if other != name]
            cables = {other: Cable(loop, next(run.ports), peer_ports[other]) for other in others}
            urls = ", ".join(f"{other}: {{ urls: ['http://127.0.0.1:{c.port}'] }}" for other, c in cables.items())
            peers = f"peers: {{ listen: '127.0.0.1:{peer_ports[name]}', dcs: {{ {urls} }} }}\n" if others else ""
            broker = Broker(run, folder / f"kafka-{name}", next(run.ports))
            rest = f"{broker.log_config()}{LIMITS}{peers}{secrets}"
            stack.callback(broker.stop)
            stores = "stores:\n  sessions: { base_uri: /sessions/v1 }\n"
            broker.start(f"dc: {name}\n{rest}{stores}  floor: {{ base_uri: /floor/v1 }}\n")
            (folder / name).mkdir()
            node = Node(run.program, folder / name, next(run.ports), rest + stores, name)
            dcs.append(Dc(name, broker, node, cables))
        for dc in dcs:
            stack.callback(dc.node.stop)
            dc.node.start()
        yield dcs


@contextmanager
def mirror(run, origin, receiver):
    """MirrorMaker, by the file of the data centre that receives."""
    servers = {f"{dc.name.upper()}_BOOTSTRAP_SERVERS": f"127.0.0.1:{dc.broker.port}" for dc in (origin, receiver)}
    file = SCRIPTS.parent / "deploy/mirrormaker" / f"{receiver.name}.properties"
    environment = [f"{name}={value}" for name, value in {**servers, "MIRROR_REPLICATION": "1"}.items()]
    with open(run.dir / f"mirror-{receiver.name}.output", "wb") as output:
        command = ["env", *environment, SCRIPTS / "kafka-mirror.sh", file]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield process
    finally:
        end(process)


class Cable:
    """TCP from a port of this machine to another, which takes its time, or swallows everything. What it does may change
    at any time, for connections that are open, too."""

    def __init__(self, loop, port, target):
        self.port, self.target, self.delay_ms, self.is_cut = port, target, 0, False
        self.loop = loop
        asyncio.run_coroutine_threadsafe(asyncio.start_server(self.connect, "127.0.0.1", port), loop).result()

    async def connect(self, reader, writer):
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self.carry(reader, back), self.carry(there, writer))

    async def carry(self, reader, writer):
        try:
            while data := await reader.read(65536):
                if not self.is_cut:
                    # Of two pieces the first arrives first: both take as long.
                    self.loop.call_later(self.delay_ms / 1000, writer.write, data)
        except OSError:
            pass
        self.loop.call_later(self.delay_ms / 1000, writer.close)


@contextmanager
def event_loop():
    """On a thread of its own, so that cables work while the script waits for a program."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def delete_until(node, expected, stop):
    """How long deletes took, in milliseconds, 20 a second, each of which must be answered so."""
    times, number = [], 0
    while not stop.wait(0.05):
        number += 1
        began = time.monotonic()
        status, said = request(node, "DELETE", f"never-{number}")
        times.append((time.monotonic() - began) * 1000)
        if status != expected:
            sys.exit(f"a delete was answered {status}, not {expected}: {said}")
    return times


def is_answered_so(node, status):
    """Whether ten deletes in a row are, without a wait for a data centre that is cut off."""
    for number in range(10):
        began = time.monotonic()
        if request(node, "DELETE", f"try-{number}")[0] != status or SUSPECT_MS * 4 < (time.monotonic() - began) * 1000:
            return False
    return True


def arrives(written, read):
    request(written, "POST", "arrives", b"x")
    return request(read, "GET", "arrives")[0] == 200


def request(node, method, key, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=PATIENCE_S)
    try:
        connection.request(method, f"/sessions/v1/{key}", body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def wait_until(what, is_so):
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        if deadline < time.monotonic():
            sys.exit(f"never came: {what}")
        time.sleep(0.1)
