"""What a GPU makes of this package: correctness, races, and speed beside PyTorch, as a page of Markdown.

    python -m asv_benchmarks.gpu_report --output gpu-report.md

Takes about five minutes. PyTorch is compared with where it is installed; `compute-sanitizer` looks for races and bad
addresses where it is on the path. The exit code is 1 where there is no GPU, and where anything was wrong.
"""

import argparse
import random
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from asv_benchmarks.candidates import options_of
from asv_benchmarks.workloads import WORKLOADS, Workload
from numba_tconv import ConvTranspose1d, backends, conv_transpose1d_backward, reference

ROUNDS = 9
COPIED = 1 << 28  # bytes of the copy that bandwidth is measured by
LARGEST = 1 << 31  # bytes of a row that is still taken


def random_problems(count: int) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
    """Yield options, x and weight of small layers, always the same."""
    choice, rng = random.Random(0), np.random.default_rng(0)  # noqa: S311 nothing secret
    for _ in range(count):
        groups, channels, filters = choice.choice((1, 1, 2, 3)), choice.choice((1, 3, 40)), choice.choice((1, 5, 33))
        options = {"groups": groups, "stride": choice.choice((1, 2, 4, 5, 8)), "dilation": choice.choice((1, 1, 2, 3))}
        dtype = choice.choice("fdFDe")
        shapes = (2, groups * channels, choice.randint(1, 300)), (groups * channels, filters, choice.randint(1, 25))
        x, weight = ((rng.standard_normal(s) + 1j * rng.standard_normal(s)) for s in shapes)
        x, weight = (a if dtype in "FD" else a.real for a in (x, weight))
        yield options, x.astype(dtype), weight.astype(dtype)


def wrong(count: int) -> list[str]:
    """Return what was wrong with the forward pass and the gradients of some random layers."""
    findings = []
    for options, x, weight in random_problems(count):
        y = ConvTranspose1d(weight, device="cuda", **options)(x)
        gradients = conv_transpose1d_backward(y, x, weight, device="cuda", **options)
        truth = reference.scatter(x, weight, **options), *reference.gradients(y, x, weight, **options)
        for name, got, expected in zip(
            ("forward", "grad_x", "grad_weight", "grad_bias"), (y, *gradients), truth, strict=True
        ):
            scale = max(1.0, float(np.abs(expected).max()))
            error = float(np.abs(got - expected).max()) / scale
            if not error <= {"d": 1e-12, "D": 1e-12, "e": 2e-3}.get(x.dtype.char, 2e-5):
                findings.append(
                    f"{name}: off by {error:.1e} of the largest, {x.dtype} {x.shape} {weight.shape} {options}"
                )
    return findings


def sanitized(tool: str) -> str:
    """Return the last line of `compute-sanitizer` over the check for a few layers."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        return "compute-sanitizer is not installed"
    command = [program, f"--tool={tool}", sys.executable, "-m", "asv_benchmarks.gpu_report", "--only-check", "6"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[-1]


def seconds(calls: dict[str, Callable[[], Any]], synchronize: Callable[[], None]) -> dict[str, float]:
    """Return the median time of calls that are made in turn, each waited for; the first one is not timed."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            for is_timed in (False, True):
                synchronize()
                begin = time.perf_counter()
                call()
                synchronize()
                if is_timed:
                    times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(some) for name, some in times.items()}


def candidates(workload: Workload) -> dict[str, Callable[[], Any]]:
    """Return the calls for a row: ours on arrays that are on the GPU and on host arrays, and PyTorch's."""
    from numba_tconv.backends.cuda import memory

    x, weight, bias = workload.arrays(np.random.default_rng(0))
    plan, host = (ConvTranspose1d(weight, bias, device="cuda", **options_of(workload)) for _ in range(2))
    there, out = memory.upload(x), memory.empty(workload.output_shape, x.dtype)
    calls: dict[str, Callable[[], Any]] = {"plan": lambda: plan(there, out), "host arrays": lambda: host(x)}
    try:
        import torch

        is_symmetric = len(set(workload.crop)) == 1
        if torch.cuda.is_available() and is_symmetric and workload.dtype != "complex64":  # weights are real
            tensors = [None if a is None else torch.from_numpy(a).cuda() for a in (x, weight, bias)]
            options = {"stride": workload.stride, "padding": workload.crop[0], "groups": workload.groups}
            calls["PyTorch"] = lambda: torch.nn.functional.conv_transpose1d(*tensors, **options)
    except ImportError:
        pass
    return calls


def bandwidth(synchronize: Callable[[], None]) -> float:
    """Return the bytes a second that a copy on the GPU reads and writes."""
    from numba_tconv.backends.cuda import memory

    a, b = (memory.empty((COPIED // 4,), np.float32) for _ in range(2))
    return 2 * COPIED / seconds({"copy": lambda: b.copy_to_device(a)}, synchronize)["copy"]


def lines(rows: str, cases: int) -> Iterator[str]:
    """Yield the report."""
    from numba_tconv.backends.cuda import compiler

    yield f"# {compiler.gpu_name()}\n"
    findings = wrong(cases)
    yield f"{cases} random layers, forward pass and gradients: {len(findings)} findings\n"
    yield from (f"- {finding}" for finding in findings)
    yield from (f"{tool}: {sanitized(tool)}\n" for tool in ("memcheck", "racecheck"))
    synchronize = compiler.cuda.synchronize
    copied = bandwidth(synchronize)
    yield f"A copy moves {copied / 1e9:.0f} GB/s. Medians of {ROUNDS}.\n"
    yield "| row | plan | host arrays | PyTorch | TFLOP/s | of copy bandwidth |\n|---|---|---|---|---|---|"
    for workload in WORKLOADS:
        if re.search(rows, workload.name) and workload.bytes < LARGEST:
            times = seconds(candidates(workload), synchronize)
            cells = [
                f"{times[name] * 1e3:.3f} ms" if name in times else "-" for name in ("plan", "host arrays", "PyTorch")
            ]
            speed, moved = workload.flops / times["plan"] / 1e12, workload.bytes / times["plan"] / copied
            yield f"| {workload.name} | {' | '.join(cells)} | {speed:.2f} | {moved:.0%} |"


def main(arguments: list[str] | None = None) -> int:
    """Write the report, and return 1 where there is nothing to report or something was wrong."""
    parser = argparse.ArgumentParser("python -m asv_benchmarks.gpu_report", description="Check and measure a GPU.")
    parser.add_argument("--output", type=Path, default=Path("gpu-report.md"))
    parser.add_argument("--rows", default="", metavar="REGEX", help="of the workloads")
    parser.add_argument("--cases", type=int, default=200, help="random layers; default: %(default)s")
    parser.add_argument(
        "--only-check", type=int, default=0, metavar="CASES", help="check so many layers, report nothing"
    )
    options = parser.parse_args(arguments)
    if missing := backends.missing_for_cuda():
        print(f"gpu_report: error: {missing}", file=sys.stderr)
        return 1
    if options.only_check:
        return bool(wrong(options.only_check))
    text = []
    for line in lines(options.rows, options.cases):
        print(line, flush=True)
        text.append(line)
    options.output.write_text("\n".join(text) + "\n", encoding="utf-8")
    return any(line.startswith("- ") for line in text)


if __name__ == "__main__":
    sys.exit(main())
