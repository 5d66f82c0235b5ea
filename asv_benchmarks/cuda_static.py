"""The CUDA kernels as machine code, without a GPU: registers, spills, occupancy, and a roofline on paper.

    python -m asv_benchmarks.cuda_static
    python -m asv_benchmarks.cuda_static --capability 9.0 --rows hifigan

Every kernel is compiled by numba-cuda for a compute capability and assembled by nvJitLink of the same release; with the
wheel `nvidia-cuda-nvdisasm`, the table also has the share of the main loop's instructions that multiply.

The roofline is a model. Of a contraction: the products that the launch rule counts for the busiest multiprocessor (with
padding, splits and the fixed part of a block) at the tile's share of the peak in `launch.TILES`. Of `fir.py`: its
multiply-adds at half of the peak; many channels to one are counted as a contraction. And of both: bytes, each moved
once, over the bandwidth; the slowest decides. Caches, launches and clocks are left out.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from asv_benchmarks.workloads import WORKLOADS, Workload
from numba_tconv.compiling import without_garbage_collection
from numba_tconv.geometry import geometry

CAPABILITIES = ((7, 5), (8, 0), (9, 0), (10, 0))

if find_spec("numba_cuda"):  # asv imports every module here, and its environments have no CUDA
    from cuda.bindings import nvjitlink
    from numba.core.types import NamedUniTuple

    from numba_tconv.backends.cuda import contraction, fir, launch, problems, rates, sums, tap_sums
    from numba_tconv.backends.cuda.compiler import cuda, types
    from numba_tconv.backends.cuda.parts import ALL_COMPLEX, Parts, View

    REAL = Parts(1, 1, 1)
    NUMBERS = {4: types.float32, 8: types.float64}
    ACROSS, ALONG = problems.Lanes(False, False), problems.Lanes(True, True)
    KINDS_OF_PROBLEMS = (problems.Problem, fir.Problem, rates.Problem, rates.Packing, sums.Problem, tap_sums.Problem)


class Gpu(NamedTuple):
    """What a GPU has, on paper."""

    name: str
    multiprocessors: int
    flops: float  # single precision, a second
    bandwidth: float  # bytes a second


GPUS = (Gpu("H100", 132, 66.9e12, 3.35e12), Gpu("T4", 40, 8.1e12, 0.32e12))


class Variant(NamedTuple):
    """A kernel as it is launched."""

    name: str
    make: Callable[[], Any]
    arguments: tuple[Any, ...]


class Code(NamedTuple):
    """What the assembler says of a kernel."""

    registers: int
    shared: int
    stack: int
    spilled: int  # bytes of stores and loads
    threads: int
    blocks: int  # on a multiprocessor, as its registers are limited for
    opcodes: Counter[str]
    multiplying: float  # share of the main loop; nan without a disassembler


def variants() -> Iterator[Variant]:
    """Yield what the launch rules choose from: tiles, precisions, kinds of numbers and of reads."""
    for size, number in NUMBERS.items():
        memory, half = (types.Array(one, 1, "C") for one in (number, types.float16))
        integers = {one: NamedUniTuple(types.int64, len(one._fields), one) for one in KINDS_OF_PROBLEMS}
        rest = memory, types.Array(types.uint32, 1, "C"), integers[problems.Problem]
        for parts, tiles in ((REAL, launch.TILES[size]), (ALL_COMPLEX, launch.SPARING_TILES[size])):
            for tile in tiles:
                make = partial(contraction.make_kernel, tile, ACROSS, parts, False, number)
                name = f"contraction float{8 * size} {tile.rows}x{tile.columns}{' complex' * (parts == ALL_COMPLEX)}"
                yield Variant(name, make, (memory,) * 4 + rest)
                if parts == ALL_COMPLEX and size == 4:
                    make = partial(contraction.make_kernel, tile, ALONG, REAL, True, number)
                    name = f"contraction float16 {tile.rows}x{tile.columns}"
                    yield Variant(name, make, (half, half, memory, half, *rest))
                elif parts == REAL:
                    make = partial(contraction.make_kernel, tile, ALONG, parts, True, number)
                    yield Variant(f"{name}, along the reduction", make, (memory,) * 4 + rest)
        for branches, reach in ((1, 1), (2, 1), (4, 1), (4, 0)):
            kind = fir.Kind(branches, reach, 1, True, True)
            make = partial(fir.make_kernel, fir.TILES[size], kind, number)
            name = f"fir float{8 * size} {branches} branches, reach {reach or 'any'}"
            yield Variant(name, make, (memory,) * 4 + (integers[fir.Problem],))
        for x_parts, tap_parts in ((1, 1), (2, 1), (2, 2)):
            make = partial(rates.make_kernel, rates.THREADS, x_parts, tap_parts, number, is_row=True)
            name = f"rates float{8 * size}, parts {x_parts} and {tap_parts}"
            yield Variant(name, make, (memory,) * 3 + (integers[rates.Problem],))
        make = partial(rates.make_packer, rates.THREADS, 2, number)
        yield Variant(f"pack float{8 * size}", make, (memory, memory, integers[rates.Packing]))
        make = partial(sums.make_kernel, sums.THREADS, 2, number)
        yield Variant(f"sums float{8 * size}", make, (memory, memory, integers[sums.Problem]))
        for taps in tap_sums.TAPS:
            make = partial(tap_sums.make_kernel, tap_sums.THREADS, taps, number)
            yield Variant(f"tap sums float{8 * size}, {taps}", make, (memory,) * 3 + (integers[tap_sums.Problem],))


def code(variant: Variant, capability: tuple[int, int]) -> Code:
    """Compile and assemble a kernel, and read what became of it."""
    kernel = variant.make()
    bounds = kernel.targetoptions["launch_bounds"]
    with without_garbage_collection():
        ptx, _ = cuda.compile_ptx(kernel.py_func, variant.arguments, cc=capability, launch_bounds=bounds)
    cubin, log = assemble(ptx, capability)
    figures = {name: int(found[1]) if (found := re.search(pattern, log)) else 0 for name, pattern in FIGURES.items()}
    spilled = figures.pop("stores") + figures.pop("loads")
    return Code(**figures, spilled=spilled, threads=bounds[0], blocks=bounds[1], **_instructions(cubin))


FIGURES = {
    "registers": r"Used (\d+) registers",
    "shared": r"(\d+) bytes smem",
    "stack": r"(\d+) bytes stack frame",
    "stores": r"(\d+) bytes spill stores",
    "loads": r"(\d+) bytes spill loads",
}


def assemble(ptx: str, capability: tuple[int, int]) -> tuple[bytes, str]:
    """Return the machine code for PTX, and what nvJitLink says of it."""
    text = ptx.encode() + b"\0"
    handle = nvjitlink.create(2, [f"-arch=sm_{capability[0]}{capability[1]}", "-verbose"])
    try:
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, text, len(text), "kernel.ptx")
        nvjitlink.complete(handle)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
        cubin = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, cubin)
    finally:
        nvjitlink.destroy(handle)
    return bytes(cubin), log.decode()


def _disassembler() -> str | None:
    here = (path for folder in sys.path for path in Path(folder).glob("nvidia/*/bin/nvdisasm"))
    return str(next(here, "")) or shutil.which("nvdisasm")


def _instructions(cubin: bytes) -> dict[str, Any]:
    """Return how often each instruction is there, and the share of FMA in the loop that has most of them."""
    program = _disassembler()
    if program is None:
        return {"opcodes": Counter(), "multiplying": float("nan")}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        text = subprocess.run([program, "-c", str(file)], capture_output=True, text=True, check=True).stdout
    opcodes: list[str] = []
    labels: dict[str, int] = {}
    loops: list[tuple[int, int]] = []
    for line in text.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = len(opcodes)
        elif found := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)(.*)", line):
            opcodes.append(found[1])
            target = re.search(r"\.L_x_\d+", found[2]) if found[1].startswith("BRA") else None
            if target and target[0] in labels:
                loops.append((labels[target[0]], len(opcodes)))
    shares = [
        (sum(one.startswith(("FFMA", "DFMA")) for one in opcodes[begin:end]), end - begin) for begin, end in loops
    ]
    # The innermost of the loops with most of them.
    most, size = max(shares, key=lambda share: (share[0], -share[1]), default=(0, 1))
    return {"opcodes": Counter(opcodes), "multiplying": most / size}


def on_paper(workload: Workload, gpu: Gpu) -> tuple[str, float, float]:
    """Return the kernel that serves a row, and its expected shares of the peak and of the bandwidth."""
    shape = geometry(workload.length, workload.filter_size, workload.stride, workload.padding, 0, 1)
    if workload.in_channels == workload.groups:
        kernel, seconds = "fir", workload.flops / (0.5 * gpu.flops)
    else:
        sizes = problems.Sizes(workload.batch, workload.groups, workload.in_channels, workload.out_channels)
        places = (
            View(0, (c * t, t, 1)) for _, c, t in (workload.input_shape, workload.weight_shape, workload.output_shape)
        )
        problem, _ = problems.forward(shape, sizes, REAL, *_with_bias(*places))
        tile, cut = launch.select(launch.TILES[4], problem, gpu.multiprocessors)
        kernel = f"{tile.rows}x{tile.columns}, {cut.splits} splits"
        products = launch.cost(tile, cut, gpu.multiprocessors) * gpu.multiprocessors
        seconds = 2 * products / (gpu.flops * launch.TILES[4][tile])
    seconds = max(seconds, workload.bytes / gpu.bandwidth)
    return kernel, workload.flops / seconds / gpu.flops, workload.bytes / seconds / gpu.bandwidth


def _with_bias(x: View, weight: View, out: View) -> tuple[View, View, int, View]:
    return x, weight, 1, out


def main(arguments: list[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser("python -m asv_benchmarks.cuda_static", description="The CUDA kernels on paper.")
    parser.add_argument("--capability", default="", help="7.5, 8.0, 9.0 or 10.0; default: all")
    parser.add_argument("--rows", default="", metavar="REGEX", help="of the roofline")
    options = parser.parse_args(arguments)
    if not find_spec("numba_cuda"):
        parser.error("numba-cuda is not installed: pip install 'numba-tconv[cuda]'")
    print("| kernel | capability | registers | shared | stack | spilled | blocks | LDG 16 bytes | multiplying |")
    print("|---|---|---|---|---|---|---|---|---|")
    for capability in CAPABILITIES:
        name = ".".join(map(str, capability))
        for variant in variants() if options.capability in ("", name) else ():
            c = code(variant, capability)
            wide = sum(n for opcode, n in c.opcodes.items() if opcode.startswith("LDG") and "128" in opcode)
            print(
                f"| {variant.name} | {name} | {c.registers} | {c.shared} | {c.stack} | {c.spilled} | {c.blocks} "
                f"| {wide} | {c.multiplying:.0%} |",
                flush=True,
            )
    print(f"\n| row | {' | '.join(f'{gpu.name}: kernel | of peak | of bandwidth' for gpu in GPUS)} |")
    print("|---" * (1 + 3 * len(GPUS)) + "|")
    for workload in WORKLOADS:
        if workload.dtype == "float32" and re.search(options.rows, workload.name):
            cells = [
                f"{kernel} | {peak:.0%} | {copy:.0%}" for kernel, peak, copy in (on_paper(workload, g) for g in GPUS)
            ]
            print(f"| {workload.name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
