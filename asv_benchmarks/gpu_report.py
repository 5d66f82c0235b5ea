"""What a GPU makes of this package: correctness, races, and speed beside PyTorch, as a page of Markdown.

    python -m asv_benchmarks.gpu_report --output gpu-report.md

Takes some ten minutes the first time, most of them for compiling. It compares with PyTorch and CuPy where they are
installed, and looks for races and for bad addresses where `compute-sanitizer` is on the path. The exit code is 1 where
there is no GPU, and where anything was wrong. The tests of the backend run on the GPU by `pytest tests/cuda`.
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
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from asv_benchmarks.candidates import options_of
from asv_benchmarks.workloads import WORKLOADS, Workload
from numba_tconv import ConvTranspose1d, backends, conv_transpose1d_backward, reference, upfirdn

ROUNDS = 7
CALLS = 10  # of a graph
COPIED = 1 << 30  # bytes of the copy that bandwidth is measured by
SQUARE = 8192  # rows of the matrices
LARGEST = 1 << 31  # bytes of a row that is still taken


def random_problems(count: int) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
    """Yield options, x and weight of small layers, always the same."""
    # Few of what a kernel is compiled for, which takes ten seconds; the rest is an integer to it.
    choice, rng = random.Random(0), np.random.default_rng(0)  # noqa: S311 nothing secret
    for _ in range(count):
        groups, channels, filters = choice.choice((1, 1, 2, 3)), choice.choice((1, 3, 40)), choice.choice((1, 5, 33))
        options = {"groups": groups, "stride": choice.choice((1, 2, 4, 5, 8)), "dilation": choice.choice((1, 1, 2, 3))}
        dtype = choice.choice("ffffffdFe")
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


Call = Callable[[], Any]
Times = dict[str, float]


def call_time(call: Call, synchronize: Call) -> float:
    """Return the median microseconds of a call that is waited for: the way through Python included."""
    call()
    times = []
    for _ in range(ROUNDS):
        synchronize()
        begin = time.perf_counter()
        call()
        synchronize()
        times.append(time.perf_counter() - begin)
    return 1e6 * statistics.median(times)


def gpu_time(call: Call) -> float:
    """Return the median microseconds of a call on the GPU alone: of a CUDA graph of several, captured by PyTorch."""
    import torch

    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        call()
    stream.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        for _ in range(CALLS):
            call()
    times = []
    for _ in range(ROUNDS):
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(1e3 * begin.elapsed_time(end) / CALLS)
    return statistics.median(times)


def times_beside_torch(workload: Workload) -> Times:
    """Return the times of a row: of the plan, its gradients and a call, and PyTorch's, without and with TF32."""
    import torch

    x, weight, bias, g = (
        None if array is None else torch.from_numpy(array).cuda()
        for array in (*workload.arrays(np.random.default_rng(0)), workload.grad_output())
    )
    plan = ConvTranspose1d(weight, bias, **options_of(workload))
    out, synchronize = plan(x), torch.cuda.synchronize
    times = {"plan": gpu_time(lambda: plan(x, out)), "call": call_time(lambda: plan(x, out), synchronize)}
    for wrt in ("x", "weight"):
        times[f"grad_{wrt}"] = gpu_time(partial(plan.backward, g, x, wrt=wrt))
    if workload.dtype == "complex64":  # PyTorch has no real weights for complex data
        return times
    padding = min(workload.crop)  # of both ends, which is all that PyTorch has
    options = {"stride": workload.stride, "padding": padding, "groups": workload.groups}
    forward = partial(torch.nn.functional.conv_transpose1d, x, weight, bias, **options)
    times |= {"PyTorch": gpu_time(forward), "PyTorch call": call_time(forward, synchronize)}
    torch.backends.cudnn.allow_tf32 = True
    times["TF32"] = gpu_time(forward)
    torch.backends.cudnn.allow_tf32 = False
    if len(set(workload.crop)) == 1:
        rest = [workload.stride], [padding], [1], True, [0], workload.groups
        for wrt, mask in (("x", [True, False, False]), ("weight", [False, True, False])):
            backward = partial(torch.ops.aten.convolution_backward, g, x, weight, None, *rest, mask)
            times[f"PyTorch grad_{wrt}"] = gpu_time(backward)
    return times


def table_beside_torch(rows: list[Workload]) -> Iterator[str]:
    """Yield a table of times, and of how many times as long PyTorch takes."""
    import torch

    torch.set_grad_enabled(False)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False
    large, other = (torch.empty(COPIED // 4, device="cuda") for _ in range(2))
    copied = 2 * COPIED / gpu_time(lambda: other.copy_(large))
    a, b = (torch.randn(SQUARE, SQUARE, device="cuda") for _ in range(2))
    peak = 2 * SQUARE**3 / gpu_time(lambda: torch.mm(a, b))
    yield (
        "Microseconds on the GPU, and of a call that is waited for; of the gradients, how many times as long PyTorch "
        f"takes. A matrix product of float32 does {peak / 1e6:.1f} TFLOP/s, a copy moves {copied / 1e6:.2f} TB/s; the "
        "last two columns are shares of them.\n"
    )
    yield "| row | plan | PyTorch | with TF32 | call | PyTorch | grad_x | grad_weight | of product | of copy |"
    yield "|---|" + "---:|" * 9
    for workload in rows:
        times = times_beside_torch(workload)
        cells = [f"{times[name]:.1f}" if name in times else "-" for name in ("plan", "PyTorch", "TF32")]
        cells += [f"{times[name]:.0f}" if name in times else "-" for name in ("call", "PyTorch call")]
        for name in ("grad_x", "grad_weight"):
            theirs = times.get(f"PyTorch {name}")
            cells.append("-" if theirs is None else f"{theirs / times[name]:.2f}")
        shares = workload.flops / times["plan"] / peak, workload.bytes / times["plan"] / copied
        yield f"| {workload.name} | {' | '.join(cells)} | {shares[0]:.0%} | {shares[1]:.0%} |"


def table_beside_cupy(rows: list[Workload]) -> Iterator[str]:
    """Yield a table of calls of `upfirdn` that are waited for, on arrays of CuPy."""
    import cupy
    from cupyx.scipy.signal import upfirdn as of_cupy

    yield "\n| upfirdn, microseconds of a call | ours | CuPy |\n|---|---:|---:|"
    for workload in rows:
        x, weight, _ = (None if a is None else cupy.asarray(a) for a in workload.arrays(np.random.default_rng(0)))
        ours, theirs = (
            call_time(partial(function, weight[0, 0], x[:, 0], workload.stride), cupy.cuda.Device().synchronize)
            for function in (upfirdn, of_cupy)
        )
        yield f"| {workload.name} | {ours:.0f} | {theirs:.0f} |"


def table_of_host_arrays(rows: list[Workload]) -> Iterator[str]:
    """Yield a table of calls on host arrays: on the GPU, copies included, on the CPU, and where 'auto' puts them."""
    from numba_tconv.backends.cuda import compiler

    yield "\n| host arrays, microseconds of a call | GPU | CPU | 'auto' takes |\n|---|---:|---:|---|"
    for workload in rows:
        x, weight, bias = workload.arrays(np.random.default_rng(0))
        there, here, auto = (
            ConvTranspose1d(weight, bias, device=device, **options_of(workload)) for device in ("cuda", "cpu", "auto")
        )
        times = [call_time(partial(plan, x), compiler.cuda.synchronize) for plan in (there, here)]
        auto(x)
        place = "GPU" if "_on_gpu" in vars(auto) else "CPU"
        yield f"| {workload.name} | {times[0]:.0f} | {times[1]:.0f} | {place} |"


def lines(pattern: str, cases: int) -> Iterator[str]:
    """Yield the report."""
    from numba_tconv.backends.cuda import compiler

    rows = [row for row in WORKLOADS if re.search(pattern, row.name) and row.bytes <= LARGEST]
    yield f"# {compiler.gpu_name()}\n"
    findings = wrong(cases)
    yield f"{cases} random layers, forward pass and gradients: {len(findings)} findings\n"
    yield from (f"- {finding}" for finding in findings)
    yield from (f"{tool}: {sanitized(tool)}\n" for tool in ("memcheck", "racecheck"))
    if find_spec("torch"):
        yield from table_beside_torch(rows)
    if find_spec("cupyx"):
        yield from table_beside_cupy([row for row in rows if row.kind == "fir"])
    yield from table_of_host_arrays([row for row in rows if row.quick])


def main(arguments: list[str] | None = None) -> int:
    """Write the report, and return 1 where there is nothing to report or something was wrong."""
    parser = argparse.ArgumentParser("python -m asv_benchmarks.gpu_report", description="Check and measure a GPU.")
    parser.add_argument("--output", type=Path, default=Path("gpu-report.md"))
    parser.add_argument("--rows", default="", metavar="REGEX", help="of the workloads")
    parser.add_argument("--cases", type=int, default=100, help="random layers; default: %(default)s")
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
