"""The comparison with other libraries, over the whole table or a part of it.

    python -m asv_benchmarks.peers [--pass grad_x] [--quick] [--rows REGEX] [--markdown] [--out FILE]

All candidates run in one process and take turns, so that what the machine does meanwhile meets them alike; a row's
times are medians over rounds. A result that differs from the plan's is reported and never counts as a time to beat.
Here belong the timing and the report; how to call each library is `candidates.py`'s business.
"""

import argparse
import importlib.util
import math
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from statistics import geometric_mean, median
from typing import Any

import numba
import numpy as np
from llvmlite.binding import get_host_cpu_name

from asv_benchmarks.candidates import NEEDS, OURS, PASSES, PEERS, Call
from asv_benchmarks.machine import copy_bandwidth, fma_peak, seconds_of
from asv_benchmarks.workloads import KINDS, TINY_CALL, WORKLOADS, Workload

# Idle threads of the previous candidate spin for a while before they sleep, ONNX Runtime's longest: about 45 ms.
REST = 0.07
# A turn lasts at least this long, however short the call: after a rest, vectors and memory are slow for one to four
# milliseconds, of which a call of one millisecond alone would pay all, and one of fifty nothing.
TURN = 20e-3
FEWEST_ROUNDS = 3
# Share of the FMA peak that a gradient must reach.
GRADIENT_PEAK = 0.75
# Of the result's scale. Peers may reorder sums, not lose digits: bfloat16, say, must not pass for float32.
TOLERANCE = {"float32": 1e-3, "float64": 1e-9}


@dataclass(frozen=True)
class Result:
    """What one row has shown.

    Attributes
    ----------
    seconds : dict of str to float
        Median time of a call, by candidate; candidates that cannot compute the row are absent.
    wrong : list of str
        Candidates whose result differs from the plan's; their times are left out.
    peak, copy : float
        The machine's GFLOP/s in the row's dtype, and its GB/s for as many bytes as the row has.
    direction : str
        The pass. The gradients of x and of the weight have the products and the arrays of the forward pass, each.
    """

    workload: Workload
    seconds: dict[str, float]
    wrong: list[str]
    peak: float
    copy: float
    direction: str = "forward"

    @property
    def goals(self) -> dict[str, float]:
        """What the row must reach; a gradient 75 % of the peak where the forward pass has a goal, and nothing else."""
        if self.direction != "forward":
            return {name: GRADIENT_PEAK for name in self.workload.goals if name == "peak"}
        return self.workload.goals

    @property
    def products(self) -> int:
        """How many times the products of the forward pass there are."""
        return 2 if self.direction == "backward" else 1

    @property
    def gflops(self) -> float:
        """Billions of additions and multiplications per second of the plan."""
        return self.products * self.workload.flops / self.seconds["plan"] / 1e9

    @property
    def gbytes(self) -> float:
        """Gigabytes per second of the plan."""
        return self.products * self.workload.bytes / self.seconds["plan"] / 1e9

    def ratio(self, ours: str, *peers: str) -> float:
        """Return how many times as long as ours the fastest of the peers takes; nan where none of them has run."""
        times = [self.seconds[peer] for peer in peers if peer in self.seconds]
        return min(times) / self.seconds[ours] if times else math.nan

    @property
    def reached(self) -> dict[str, float]:
        """What the workload's goals are compared with."""
        return {
            "peak": self.gflops / self.peak,
            "copy": self.gbytes / self.copy,
            "scipy": self.ratio("plan", "scipy"),
        }


def is_close(result: np.ndarray, expected: np.ndarray) -> bool:
    """Whether two results agree to what their dtype can promise."""
    if result.shape != expected.shape:
        return False
    tolerance = TOLERANCE[expected.real.dtype.name] * np.abs(expected).max()
    return bool(np.abs(result - expected).max() <= tolerance)


def arrays_of(result: Any) -> list[np.ndarray]:
    """Return a candidate's results, one or several, whatever its library calls an array."""
    results = result if isinstance(result, tuple) else (result,)
    return [array.numpy() if hasattr(array, "numpy") else array for array in results]


def seconds_in_turn(calls: dict[str, Call], rounds: int, budget: float) -> dict[str, float]:
    """Return the median time of a call of each candidate, over up to `rounds` rounds in about `budget` seconds."""
    repeats = {name: math.ceil(TURN / seconds_of(call)) for name, call in calls.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    deadline = time.perf_counter() + budget
    for done in range(rounds):
        if done >= FEWEST_ROUNDS and time.perf_counter() > deadline:
            break
        for name, call in calls.items():
            time.sleep(REST)
            call()  # wakes the threads and brings the arrays back into the caches
            times[name].append(seconds_of(call, repeats[name]))
    return {name: median(values) for name, values in times.items()}


def compare(workload: Workload, peers: list[str], options: argparse.Namespace) -> tuple[dict[str, float], list[str]]:
    """Return the times of the candidates that agree with the plan, and the names of those that do not."""
    arrays = workload.arrays(np.random.default_rng(0))
    ours, theirs = PASSES[options.direction]
    calls = {name: prepare(workload, arrays, options.threads) for name, prepare in ours.items()}
    expected = arrays_of(calls["plan"]())
    for peer in peers:
        call = theirs[peer](workload, arrays, options.threads)
        if call is not None:
            calls[peer] = call
    wrong = [name for name, call in calls.items() if not all(map(is_close, arrays_of(call()), expected))]
    agreeing = {name: call for name, call in calls.items() if name not in wrong}
    return seconds_in_turn(agreeing, options.rounds, options.budget), wrong


def duration(seconds: float | None) -> str:
    """Return a time in three digits, a dash for none."""
    if seconds is None:
        return "-"
    factor, unit = (1e6, "us") if seconds < 1e-3 else (1e3, "ms")
    return f"{seconds * factor:.{max(0, 2 - int(math.log10(seconds * factor)))}f} {unit}"


def number(value: float, form: str) -> str:
    """Return a formatted number, a dash for nan."""
    return "-" if math.isnan(value) else format(value, form)


HEADER = ["row", *OURS, *PEERS, "peer/plan", "torch/fn", "GFLOP/s", "of peak", "GB/s", "of copy"]


def cells(result: Result) -> list[str]:
    """Return a row's entries under HEADER."""
    return [
        result.workload.name,
        *("wrong" if name in result.wrong else duration(result.seconds.get(name)) for name in (*OURS, *PEERS)),
        number(result.ratio("plan", *PEERS), ".2f"),
        number(result.ratio("function", "torch"), ".2f"),
        number(result.gflops, ".1f"),
        number(result.reached["peak"], ".0%"),
        number(result.gbytes, ".1f"),
        number(result.reached["copy"], ".0%"),
    ]


def aligned(entries: list[str]) -> str:
    """Return one line of the table for a terminal."""
    widths = (max(9, len(title) + 2) for title in HEADER[1:])
    return f"{entries[0]:<38}" + "".join(f"{entry:>{width}}" for entry, width in zip(entries[1:], widths, strict=True))


def piped(entries: list[str]) -> str:
    """Return one line of the table in Markdown."""
    return f"| {' | '.join(entries)} |"


def misses(result: Result) -> Iterator[tuple[str, str]]:
    """Yield the titles in MISSES under which the row belongs, with its number there."""
    if result.wrong:
        yield "wrong", ", ".join(result.wrong)
    if result.ratio("plan", *PEERS) < 1:
        yield "plan", f"{result.ratio('plan', *PEERS):.2f}"
    if result.ratio("function", "torch") < 1:
        yield "function", f"{result.ratio('function', 'torch'):.2f}"
    for name, goal in result.goals.items():
        if result.reached[name] < goal:
            form = ".0f" if name == "scipy" else ".0%"
            yield name, f"{result.reached[name]:{form}} of {goal:{form}}"


MISSES = {
    "wrong": "another result than the plan's",
    "plan": "the fastest peer is ahead of the plan (its time / the plan's)",
    "function": "torch is ahead of the function (its time / the function's)",
    "peak": "below the goal for the share of FMA peak",
    "copy": "below the goal for the share of copy bandwidth",
    "scipy": "below the goal for SciPy's time / the plan's",
}


def summary(results: list[Result]) -> Iterator[str]:
    """Yield the means, and by name every row that misses something."""
    for kind in KINDS:
        ratios = [result.ratio("plan", *PEERS) for result in results if result.workload.kind == kind]
        ratios = [ratio for ratio in ratios if not math.isnan(ratio)]
        if ratios:
            yield f"fastest peer / plan, {len(ratios)} rows of kind {kind}: geometric mean {geometric_mean(ratios):.2f}"
    found = [(name, result.workload.name, detail) for result in results for name, detail in misses(result)]
    for name, title in MISSES.items():
        rows = [f"    {row}: {detail}" for missed, row, detail in found if missed == name]
        yield f"{title}: {len(rows)} rows"
        yield from rows


def describe(peaks: dict[str, float]) -> str:
    """Return the peaks in words."""
    return ", ".join(f"{dtype} {peak:.0f}" for dtype, peak in peaks.items())


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser("python -m asv_benchmarks.peers", description="Compare with other libraries.")
    parser.add_argument(
        "--pass", default="forward", choices=PASSES, dest="direction", help="what to compute; default: %(default)s"
    )
    parser.add_argument("--quick", action="store_true", help="only a row or two of every sort")
    parser.add_argument("--rows", default="", metavar="REGEX", help="only rows whose name matches")
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated; default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="of every candidate; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=9, help="at most, for each row; default: %(default)s")
    parser.add_argument("--budget", type=float, default=6.0, help="seconds for each row; default: %(default)s")
    parser.add_argument("--markdown", action="store_true", help="a Markdown table")
    parser.add_argument("--out", default=os.devnull, metavar="FILE", help="also write everything to this file")
    options = parser.parse_args(arguments)
    options.peers = [peer for peer in options.peers.split(",") if peer]
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"--peers takes {', '.join(PEERS)}; got {', '.join(sorted(unknown))}")
    options.peers = [peer for peer in options.peers if peer in PASSES[options.direction][1]]
    return options


def report(options: argparse.Namespace) -> Iterator[str]:
    """Run what the options ask for, yielding each line as soon as it is known."""
    threads = options.threads
    numba.set_num_threads(threads)
    peers = []
    for peer in options.peers:
        missing = [module for module in NEEDS[peer].split() if importlib.util.find_spec(module) is None]
        if missing:
            yield f"{peer} is left out: {', '.join(missing)} not installed"
        else:
            peers.append(peer)
    yield " ".join(f"{name} {version(name)}" for name in ("numpy", "numba", *peers))
    peaks = {dtype: fma_peak(dtype, threads) for dtype in TOLERANCE}
    yield f"{get_host_cpu_name()}, {threads} threads, FMA peak in GFLOP/s: {describe(peaks)}"

    seconds, _ = compare(TINY_CALL, [peer for peer in peers if peer == "torch"], options)
    yield "one call for 4 samples and 3 taps: " + ", ".join(f"{name} {duration(t)}" for name, t in seconds.items())

    line = piped if options.markdown else aligned
    yield ""
    yield line(HEADER)
    if options.markdown:
        yield line(["---", *("---:" for _ in HEADER[1:])])
    results = []
    for workload in WORKLOADS:
        if re.search(options.rows, workload.name) and (workload.quick or not options.quick):
            seconds, wrong = compare(workload, peers, options)
            copy = copy_bandwidth(workload.bytes, threads)
            # Another program may have had a core when the peak was measured first; the best of the run so far counts.
            dtype = workload.real_dtype
            peaks[dtype] = max(peaks[dtype], fma_peak(dtype, threads))
            results.append(Result(workload, seconds, wrong, peaks[dtype], copy, options.direction))
            yield line(cells(results[-1]))
    yield ""
    yield from summary(results)
    yield f"FMA peak in GFLOP/s, best of the run: {describe(peaks)}"


def main(arguments: list[str] | None = None) -> None:
    """Print the report, line by line."""
    options = parse(arguments)
    with open(options.out, "w", encoding="utf-8") as file:
        for line in report(options):
            print(line, flush=True)
            print(line, file=file, flush=True)


if __name__ == "__main__":
    main()
