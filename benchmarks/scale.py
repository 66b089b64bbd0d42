"""What a run of a billion pairs takes: arithmetic on measured rates, and a simulation of stragglers and failures.

    python benchmarks/scale.py
    python benchmarks/scale.py --pairs 1e8 --rate 23.6 --bytes 36000 --nodes 8 --cores 32 --core-hour 0.04 --gb-month 0.02
    python benchmarks/scale.py --selection 4000000

Rates and bytes are those that `pairloom check` or `benchmarks/run_scaling.py` measure on your data. The simulation places shards
as the engine for Ray does: as many at a time as there are cores, the next one as soon as one ends; a node that fails takes its
unfinished shards with it, they are tried again up to three times, and the node comes back after a while. Shards
differ in length (log-normal), nodes in speed. `--selection N` measures the memory that `duplicates` takes for N pairs.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import resource
import statistics
from collections import deque
from dataclasses import dataclass, field

RETRIES = 3  # as engines/ray.py tells Ray
FILES = 5  # of a shard: data, ledger, rejects, counts, manifest


@dataclass
class Cluster:
    """So many nodes of so many cores; each fails once in `mtbf` hours and is back after `back` hours; some are slow."""

    nodes: int
    cores: int
    mtbf: float
    back: float
    slow: float
    factor: float


@dataclass
class Work:
    """One shard: hours on a core of full speed, and how often it was lost."""

    hours: float
    lost: int = 0


@dataclass
class Found:
    """Hours until the last shard ends, and shares of all cores' hours until then; `tail` is that from 99 % of the shards on."""

    hours: float
    lost: float
    idle: float
    tail: float
    failures: int
    undone: int


@dataclass
class Run:
    """A simulated run; `running` holds by place the shard and when it began."""

    cluster: Cluster
    waiting: deque[Work]
    chance: random.Random
    now: float = 0.0
    running: dict[tuple[int, int], tuple[float, Work]] = field(default_factory=dict)
    idle: set[tuple[int, int]] = field(default_factory=set)
    events: list[tuple[float, int, str, int, int]] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    worked: float = 0.0
    lost: float = 0.0
    failures: int = 0
    undone: int = 0

    def __post_init__(self) -> None:
        slow = int(self.cluster.slow * self.cluster.nodes)
        self.speed = [self.cluster.factor] * slow + [1.0] * (self.cluster.nodes - slow)
        self.shards = len(self.waiting)

    def whole(self) -> Found:
        """Until every shard is done, or given up."""
        for node in range(self.cluster.nodes):
            self.come(node)
        self.place()
        while len(self.ends) + self.undone < self.shards:
            self.now, _, what, node, core = heapq.heappop(self.events)
            if what == "end":
                self.end((node, core))
            elif what == "fail":
                self.fail(node)
            else:
                self.come(node)
            self.place()
        hours = self.cluster.nodes * self.cluster.cores * self.now
        tail = self.now - self.ends[int(0.99 * len(self.ends))]
        idle = 1 - (self.worked + self.lost) / hours
        return Found(self.now, self.lost / hours, idle, tail, self.failures, self.undone)

    def later(self, hours: float, what: str, node: int, core: int = 0) -> None:
        """Something that happens then."""
        heapq.heappush(self.events, (self.now + hours, self.chance.getrandbits(60), what, node, core))

    def place(self) -> None:
        """Give shards to cores that have none."""
        while self.waiting and self.idle:
            place, work = self.idle.pop(), self.waiting.popleft()
            self.running[place] = (self.now, work)
            self.later(work.hours / self.speed[place[0]], "end", *place)

    def end(self, place: tuple[int, int]) -> None:
        """A shard ends, unless it was lost before."""
        began, work = self.running.get(place, (0.0, Work(0)))
        if place in self.running and math.isclose(began + work.hours / self.speed[place[0]], self.now):
            del self.running[place]
            self.worked += self.now - began
            self.ends.append(self.now)
            self.idle.add(place)

    def fail(self, node: int) -> None:
        """A node and all that it works on is lost."""
        self.failures += 1
        for place in [(node, core) for core in range(self.cluster.cores)]:
            self.idle.discard(place)
            if place in self.running:
                began, work = self.running.pop(place)
                self.lost += self.now - began
                work.lost += 1
                self.undone += work.lost > RETRIES
                self.waiting.extend([work] if work.lost <= RETRIES else [])
        self.later(self.cluster.back, "come", node)

    def come(self, node: int) -> None:
        """A node is there, until it fails."""
        self.idle |= {(node, core) for core in range(self.cluster.cores)}
        self.later(self.chance.expovariate(1 / self.cluster.mtbf), "fail", node)


def simulate(cluster: Cluster, shards: int, hours: float, spread: float, seed: int) -> Found:
    """Shards of `hours` each in the mean, with a standard deviation of `spread` times the mean."""
    chance = random.Random(seed)
    sigma = math.sqrt(math.log1p(spread * spread))
    return Run(
        cluster, deque(Work(hours * chance.lognormvariate(-sigma * sigma / 2, sigma)) for _ in range(shards)), chance
    ).whole()


def selection(pairs: int) -> None:
    """Print what one process takes to find exact duplicates among so many pairs."""
    import numpy as np
    import pyarrow as pa

    from pairloom import Duplicates

    def digests() -> pa.Array:
        data = np.random.default_rng(0).bytes(16 * pairs)
        return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), pairs, [None, pa.py_buffer(data)])

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ledger = pa.table({"key": pa.array(f"{number:09d}" for number in range(pairs)), "sha256": digests(), "text": digests()})
    Duplicates().drop(ledger)
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(f"{pairs:,} pairs: {taken / 1e9:.2f} GB, {taken / pairs:.0f} bytes a pair")


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description="What a large run takes.")
    parser.add_argument("--pairs", type=float, default=1e9)
    parser.add_argument("--rate", type=float, default=430.0, help="pairs a second and core")
    parser.add_argument("--bytes", type=float, default=36_000.0, help="of output, a pair")
    parser.add_argument("--shard-size", type=int, default=10_000)
    parser.add_argument("--nodes", type=int, nargs="*", default=[4, 16, 64])
    parser.add_argument("--cores", type=int, default=64)
    parser.add_argument("--spread", type=float, default=0.3, help="standard deviation of a shard's time over its mean")
    parser.add_argument("--mtbf", type=float, nargs="*", default=[1e9, 100.0, 6.0], help="hours between failures of a node")
    parser.add_argument("--back", type=float, default=0.1, help="hours until a failed node is back")
    parser.add_argument("--slow", type=float, default=0.05, help="share of nodes that are slow")
    parser.add_argument("--factor", type=float, default=0.5, help="their speed")
    parser.add_argument("--core-hour", type=float, default=0.0)
    parser.add_argument("--gb-month", type=float, default=0.0)
    parser.add_argument("--selection", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if options.selection:
        selection(options.selection)
        return
    shards, core_hours = math.ceil(options.pairs / options.shard_size), options.pairs / options.rate / 3600
    print(f"{options.pairs:,.0f} pairs at {options.rate:g} a second and core: {core_hours:,.0f} core-hours, {shards:,} shards of")
    print(f"{core_hours / shards * 60:.1f} minutes, {options.pairs * options.bytes / 1e12:,.1f} TB in {shards * FILES:,} files")
    if options.core_hour or options.gb_month:
        month = options.pairs * options.bytes / 1e9 * options.gb_month
        print(f"cores {core_hours * options.core_hour:,.0f}, output {month:,.0f} a month")
    titles = {"nodes": 5, "cores": 6, "fails every": 11, "hours": 7, "lost": 6, "idle": 6}
    titles |= {"last 1 %": 9, "failures": 8, "undone": 6}
    print("\n" + " ".join(f"{title:>{width}}" for title, width in titles.items()))
    for nodes in options.nodes:
        for mtbf in options.mtbf:
            cluster = Cluster(nodes, options.cores, mtbf, options.back, options.slow, options.factor)
            runs = [simulate(cluster, shards, core_hours / shards, options.spread, seed) for seed in range(options.seeds)]

            def middle(name: str, runs: list[Found] = runs) -> float:
                return statistics.median(getattr(run, name) for run in runs)

            often = "never" if mtbf >= 1e6 else f"{mtbf:g} h"
            print(
                f"{nodes:>5} {nodes * options.cores:>6} {often:>11} {middle('hours'):>7.2f} {middle('lost'):>6.1%} "
                f"{middle('idle'):>6.1%} {middle('tail'):>7.2f} h {middle('failures'):>8.0f} {middle('undone'):>6.0f}"
            )


if __name__ == "__main__":
    main()
