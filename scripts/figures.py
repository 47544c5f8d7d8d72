"""The figures of docs/benchmarks.md: a function for each, which can be run alone.

What is compared runs in interleaved rounds (A B A B ...) in one go on one machine, and every figure is the median of
the rounds with the lowest and the highest. Absolute numbers of two days or machines say nothing about each other.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import figures_dcs
from measuring import PARTITIONS, Run, machine, of, sums, visible


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
            folding.append(node.time_order("rebuild"))
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


# -- figures on Kafka -------------------------------------------------------------------------------------------------


def kafka_post(run):
    """POST on Kafka, acks=all, one broker, beside the sum of what it has to wait for; and when another node shows it."""
    run.defaults(rounds=5, seconds=2)
    load = ["--keys", 10_000, "--size", 2048, "--mix", "post=1", "--distribution", "uniform", "--rate", "max", "--sparse"]
    with run.kafka() as kafka, kafka.node() as node, kafka.node() as other, run.floor("axum") as axum:
        kafka.warm_up(node)
        things = {}
        for many in (1, 64):
            things[f"query, {many}"] = partial(kafka.floor, "kafka-ends", "dc", many)
            things[f"seen, {many}"] = partial(kafka.floor, "kafka-seen", "floor", many)
            servers = {"axum": axum, "dc": node.store("dc"), "node": node.store("node")}
            for name, server in servers.items():
                things[f"{name}, {many}"] = partial(run.bench, server, *load, "--connections", many, warmup=1)
        things["visible"] = partial(visible, run, node.store("node"), other.store("node"))
        out = run.rounds(things, lambda thing: thing())
    run.say(f"POST on Kafka, 2048 bytes, acks=all, one broker, {PARTITIONS} partitions")
    for many in (1, 64):
        query = of(out[f"query, {many}"], "ends", "p50_us")
        seen, ack = (of(out[f"seen, {many}"], what, "p50_us") for what in ("seen", "ack"))
        posts = {name: of(out[f"{name}, {many}"], "latency", "p50_us") for name in ("axum", "dc", "node")}
        run.row(f"{many} at a time: bare end-offset query, p50", query, "us")
        run.row(f"{many} at a time: bare produce to acknowledgement, p50", ack, "us")
        run.row(f"{many} at a time: bare produce to consume, p50", seen, "us")
        run.row(f"{many} at a time: bare axum POST, p50", posts["axum"], "us")
        run.row(f"{many} at a time: POST, read_consistency dc, p50", posts["dc"], "us")
        run.pairs(f"p50, {many} at a time, dc : query + produce to consume + axum", posts["dc"],
                  sums(query, seen, posts["axum"]))
        run.row(f"{many} at a time: POST, read_consistency node, p50", posts["node"], "us")
        run.pairs(f"p50, {many} at a time, node : produce to consume + axum", posts["node"], sums(seen, posts["axum"]))
    for name in ("dc", "node"):
        run.row(f"64 at a time, {name}: rate", of(out[f"{name}, 64"], "rate"), "/s")
        cpu = of(out[f"{name}, 64"], "server", "cpu_us_per_request")
        run.row(f"64 at a time, {name}: CPU of the node a request", cpu, "us")
    for quantile in ("p50", "p99"):
        visible = of(out["visible"], "visible", f"{quantile}_us")
        seen = of(out["seen, 1"], "seen", f"{quantile}_us")
        run.row(f"visible on another node, {quantile}", visible, "us")
        run.pairs(f"visible on another node : bare produce to consume, {quantile}", visible, seen)
    run.row("shares of sessions that were visible at the first look (0.33)", of(out["visible"], "found_at_once"), "")


def kafka_get(run):
    """GET on Kafka without writes: what the barrier costs, beside the bare end-offset query and axum."""
    run.defaults(rounds=5, seconds=2)
    keys = run.keys or 10_000
    load = ["--keys", keys, "--size", 2048, "--mix", "get=1", "--distribution", "zipf:0.99", "--rate", "max"]
    with run.kafka() as kafka, kafka.node() as node, run.floor("axum") as axum:
        kafka.warm_up(node)
        servers = {"axum": axum, "dc": node.store("dc"), "node": node.store("node")}
        for name in ("dc", "node"):
            run.preload(servers[name], keys, 2048)
        run.settle(node)
        things = {}
        for many in (1, 64):
            things[f"query, {many}"] = partial(kafka.floor, "kafka-ends", "dc", many)
            for name, server in servers.items():
                things[f"{name}, {many}"] = partial(run.bench, server, *load, "--connections", many, warmup=1)
        out = run.rounds(things, lambda thing: thing())
    run.say(f"GET on Kafka, {keys} sessions of 2048 bytes in memory, no writes, one broker, {PARTITIONS} partitions")
    query, shared = (of(out[f"query, {many}"], "ends", "p50_us") for many in (1, 64))
    gets = {thing: of(reports, "latency", "p50_us") for thing, reports in out.items() if "query" not in thing}
    run.row("bare end-offset query, p50", query, "us")
    run.row("bare end-offset query, shared by 64 who wait, p50", shared, "us")
    for thing, values in gets.items():
        name, many = thing.split(", ")
        what = "bare axum GET" if name == "axum" else f"GET, read_consistency {name}"
        run.row(f"{what}, {many} at a time, p50", values, "us")
    run.pairs("p50, 1 at a time, dc : query + axum", gets["dc, 1"], sums(query, gets["axum, 1"]))
    run.pairs("p50, 64 at a time, dc : 2 queries + axum", gets["dc, 64"], sums(query, query, gets["axum, 64"]))
    run.pairs("p50, 64 at a time, dc : query + axum", gets["dc, 64"], sums(query, gets["axum, 64"]))
    run.row("64 at a time, dc: rate", of(out["dc, 64"], "rate"), "/s")
    run.row("64 at a time, node: rate", of(out["node, 64"], "rate"), "/s")
    run.ratio("rate, 64 at a time, dc : node", out["dc, 64"], out["node, 64"], "rate")


def kafka_rebuild(run):
    """A view made again from a topic, beside a bare consumer that discards it; and reads of the served view meanwhile."""
    run.defaults(rounds=3, seconds=5)
    keys, rate = run.keys or (100_000 if run.small else 1_000_000), 2000
    load = ["--keys", keys, "--size", 1024, "--mix", "get=1", "--distribution", "zipf:0.99", "--rate", rate]
    bare, full, folding, beside = [], [], [], []
    idle, during, covered = [], [], []
    with run.kafka() as kafka, kafka.node({"dc": "dc"}) as node, ThreadPoolExecutor(1) as background:
        run.preload(node.store("dc"), keys, 1024)
        for number in range(run.round_count):
            print(f"  round {number + 1} of {run.round_count}", file=sys.stderr)
            node.stop()
            shutil.rmtree(node.data / "view")
            bare.append(run.json(kafka.floor_command("kafka-read", "dc")))
            node.start()
            full.append(node.ready_ms / 1000)
            folding.append(node.time_order("rebuild"))
            run.settle(node)
            run.seed += 1
            idle.append(run.bench(node.store("dc"), *load, warmup=1))
            rebuilding = background.submit(node.time_order, "rebuild", 0.1)
            began = time.monotonic()
            during.append(run.bench(node.store("dc"), *load, warmup=1))
            took = time.monotonic() - began
            beside.append(rebuilding.result())
            covered.append(min(1, beside[-1] / took))
    run.say(f"A view of {keys} sessions of 1024 bytes, made again from a topic of {PARTITIONS} partitions")
    run.row("records in the topic", of(bare, "records"), "")
    run.row("bare consumer that discards them", of(bare, "seconds"), "s")
    run.row("bare consumer: rate", of(bare, "rate"), "/s")
    run.row("start without a view, to /readyz 200", full, "s")
    run.row("start without a view: rate", [records / s for records, s in zip(of(bare, "records"), full)], "/s")
    run.pairs("pace, start : bare consumer", of(bare, "seconds"), full)
    run.row("`solera rebuild` beside the view that is served", folding, "s")
    run.pairs("pace, rebuild : bare consumer", of(bare, "seconds"), folding)
    run.row(f"GET p99 at {rate}/s, idle", of(idle, "latency", "p99_us"), "us")
    run.row(f"GET p99 at {rate}/s, while `solera rebuild` runs", of(during, "latency", "p99_us"), "us")
    run.ratio("GET p99, during : idle", during, idle, "latency", "p99_us")
    run.row("`solera rebuild` beside these reads", beside, "s")
    run.row("share of these reads' time that it ran", covered, "")


def kafka_mix(run):
    """The production mix and 65/35 at 2,000 and 5,000 requests a second, open loop."""
    run.defaults(rounds=3, seconds=5)
    keys = run.keys or (5_000 if run.small else 100_000)
    mixes = {"74/25/1": "get=74,post=25,delete=1", "65/35": "get=65,post=35"}
    with run.kafka() as kafka, kafka.node() as node:
        kafka.warm_up(node)
        things = {}
        for store in ("dc", "node"):
            run.preload(node.store(store), keys, 2048)
            for mix, weights in mixes.items():
                for rate in (2000, 5000):
                    load = ["--keys", keys, "--size", 2048, "--mix", weights, "--rate", rate, "--sparse", "--timeout", "60s"]
                    thing = partial(run.bench, node.store(store), *load, warmup=1)
                    things[f"{mix}, {rate:,}/s, {store}"] = thing
        run.settle(node)
        out = run.rounds(things, lambda thing: thing())
    quantiles = ("p50", "p95", "p99")
    load = f"{keys} sessions of 2048 bytes, zipf:0.99, 64 connections"
    run.say(f"GET/POST/DELETE on Kafka, open loop, {load}: microseconds", quantiles)
    for name, reports in out.items():
        for method in ("get", "post", "delete"):
            if all(method in report["by_method"] for report in reports):
                values = {quantile: of(reports, "by_method", method, f"{quantile}_us") for quantile in quantiles}
                run.columns(f"{name}: {method.upper()}", values)


FIGURES = {
    figure.__name__.replace("_", "-"): figure
    for figure in (
        get, post, space, memory, start, rebuild, tombstones, kafka_post, kafka_get, kafka_rebuild, kafka_mix,
        figures_dcs.dcs_delete, figures_dcs.dcs_cut, figures_dcs.dcs_mirror, figures_dcs.dcs_slo,
    )
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="\n".join(f"{name:13} {figure.__doc__}" for name, figure in FIGURES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)}; all without one")
    parser.add_argument("--program", required=True, help="solera, built without debug assertions")
    parser.add_argument("--dir", default=".", help="a folder on the disk to measure; 10 GB are enough (default: .)")
    parser.add_argument("--small", action="store_true", help="minutes in place of an hour: shows that it works")
    parser.add_argument("--keys", type=int, help="sessions, in place of each figure's own number")
    parser.add_argument("--memory-mb", type=int, help="memory_mb of get (1000) and memory (320)")
    parser.add_argument("--rounds", type=int, help="rounds of each comparison (5; 3 in kafka-rebuild and kafka-mix)")
    parser.add_argument("--seconds", type=int, help="seconds of each measurement (20; 2 or 5 on Kafka)")
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
            run.defaults(rounds=5, seconds=20)
            FIGURES[name](run)
    finally:
        shutil.rmtree(run.dir)
        if asked.json:
            Path(asked.json).write_text(json.dumps(run.raw, indent=2) + "\n")


if __name__ == "__main__":
    main()
