"""The launches of all kernels: which variant, how many blocks, and the cuts of a contraction into tiles and splits.

The rule for a contraction, on a GPU of so many multiprocessors: of a few tiles, and of all splits of the reduction that
may pay, the pair that leaves the busiest multiprocessor the least to do, padding included. No reduction is split into
more than the square root of its slabs, for the block that adds up splits takes about as long for each of them as for a
slab. It is a rule of sizes alone, and the same for all compute capabilities from 7.5 on, because every tile runs on all
of them without spilling a register (`tests/test_cuda_code.py`). On an H200, over 37 real layers with up to 13 choices
measured for each, the rule's takes 0.7 % longer than the best of them in the geometric mean, 15 % at worst.

Launches are kept: all but the addresses is the same in the next call, and the rule takes longer than many a kernel.
"""

from collections.abc import Iterator
from functools import cache, lru_cache
from math import isqrt
from threading import RLock
from typing import Any

import numpy as np

from numba_tconv.backends.cuda import contraction, fir, memory, rates, sums, tap_sums
from numba_tconv.backends.cuda.binding import Launch, Memory, bind
from numba_tconv.backends.cuda.compiler import SIMULATED, cuda, number, types
from numba_tconv.backends.cuda.parts import ALL_COMPLEX, Parts, View
from numba_tconv.backends.cuda.problems import Lanes, Problem, Tile
from numba_tconv.geometry import Geometry, RateChange

# By the itemsize of what is computed with: tiles for many, for fewer, and for few rows, and how fast each one
# multiplies beside the others: in float32 as measured on an H200, in float64 by the multiplications in machine code.
TILES = {
    4: {Tile(128, 128, 8, 8, 8, 2): 0.81, Tile(64, 64, 8, 4, 8, 4): 0.66, Tile(16, 256, 4, 8, 8, 4): 0.50},
    8: {Tile(64, 64, 8, 4, 8, 4): 1.0, Tile(32, 32, 4, 4, 8, 8): 1.0, Tile(16, 128, 4, 4, 8, 4): 0.97},
}
# For products of complex numbers with a complex result, and for float16, which is converted on its way: they need more
# registers than the large ones leave.
SPARING_TILES = {
    4: {Tile(64, 64, 8, 4, 8, 4): 0.66, Tile(16, 256, 4, 8, 8, 4): 0.50},
    8: {Tile(64, 64, 8, 4, 8, 3): 1.0, Tile(32, 32, 4, 4, 8, 8): 1.0, Tile(16, 128, 4, 4, 8, 4): 0.97},
}
# What a block does before its first slab and behind its last one takes about as long as so many slabs.
FIXED_SLABS = 2
# So large a share of the blocks that a multiprocessor has room for keeps it busy; fewer of them leave it waiting.
SATURATING = 0.7
# Blocks for each multiprocessor up to which a reduction is split: beyond it, the last ones' share is small.
WAVES = 5
# A split's reduction is counted in 32 bits.
MOST_SLABS = 1 << 26
# A grid has more dimensions than this, but nothing needs them: blocks go on to further tiles.
MOST_BLOCKS = 1 << 20
# Places in time beyond it, or the way from one to another, need 64 bits.
LONG = 1 << 29


@cache
def multiprocessors(device: int) -> int:
    """Return how many multiprocessors a GPU has."""
    return 1 if SIMULATED else cuda.gpus[device].MULTIPROCESSOR_COUNT


def fills(blocks: int, blocks_of_one: int, device: int) -> bool:
    """Whether so many blocks keep all multiprocessors busy that have room for `blocks_of_one` each."""
    return blocks >= SATURATING * multiprocessors(device) * blocks_of_one


def tiles_of(tile: Tile, problem: Problem) -> int:
    """Return how many tiles the result has."""
    return problem.groups * -(-problem.m // tile.rows) * -(-problem.n // tile.columns)


def _cuts(tile: Tile, problem: Problem, available: int) -> Iterator[Problem]:
    """Yield the problem with its reduction split into one part, or as many as may pay."""
    slabs = max(1, -(-problem.k // tile.slab))  # without anything to add up, there are zeros to write
    fewest = -(-slabs // MOST_SLABS)
    most = max(fewest, min(available * max(tile.blocks, WAVES) // tiles_of(tile, problem), isqrt(slabs)))
    # Rows that are written together.
    rows = 4 * tile.rows // tile.thread_rows
    weave = min(problem.weave, rows.bit_length() - 1)
    for splits in range(fewest, most + 1):
        of_a_split = -(-slabs // splits)
        yield problem._replace(splits=-(-slabs // of_a_split), slabs=of_a_split, weave=weave)


def cost(tile: Tile, problem: Problem, available: int) -> float:
    """Return the products, and what takes as long, that the busiest multiprocessor has to do."""
    blocks_of_one = -(-tiles_of(tile, problem) * problem.splits // available)
    adding = problem.splits if problem.splits > 1 else 0
    slabs = problem.slabs + adding + FIXED_SLABS
    return max(blocks_of_one, SATURATING * tile.blocks) * tile.rows * tile.columns * tile.slab * slabs


def select(tiles: dict[Tile, float], problem: Problem, available: int) -> tuple[Tile, Problem]:
    """Return the tile for a problem, and the problem with its splits, on a GPU of `available` multiprocessors."""
    choices = ((tile, cut) for tile in tiles for cut in _cuts(tile, problem, available))
    return min(choices, key=lambda choice: cost(choice[0], choice[1], available) / tiles[choice[0]])


def _is_long(problem: Problem) -> bool:
    """Whether 32 bits do not hold every place in time."""
    p = problem
    reach_of_a = abs(p.a_t) + p.m_inner * abs(p.a_t_m) + p.k_inner * abs(p.a_t_k)
    reach_of_b = abs(p.b_t) + p.n_inner * abs(p.b_t_n) + p.k_inner * abs(p.b_t_k)
    reach_of_out = abs(p.out_t) + p.m_inner * abs(p.out_t_m) + p.n_inner * abs(p.out_t_n)
    return max(p.a_length, p.b_length, p.out_length, reach_of_a, reach_of_b, reach_of_out) >= LONG


@cache
def _contraction(tile: Tile, lanes: Lanes, parts: Parts, conjugate: bool, real: np.dtype, is_long: bool) -> Any:
    time = types.int64 if is_long else types.int32
    return contraction.make_kernel(tile, lanes, parts, conjugate, number(real), time)


COUNTERS = np.dtype(np.uint32)

# By GPU, stream, purpose and type: what keeps the memory, its size and its address.
_scratch: dict[tuple[int, Any, str, np.dtype], tuple[Any, int, int]] = {}
_outgrown: list[Any] = []
# What several kernels of a launch leave in that memory no other thread's launch may come between.
_in_turn = RLock()


def _scratch_memory(purpose: str, size: int, dtype: np.dtype, stream: Any) -> int:
    """Return the address of memory for a purpose within a launch; counters are zero there.

    It is a stream's own, whose launches follow one another, and stays for the next one; who asks for it holds
    `_in_turn`. What has been outgrown is kept, less than that in all, for the CUDA graphs that may have captured it.
    """
    if size == 0:
        return 0
    key = memory.current_device(), stream, purpose, dtype
    held, held_size, address = _scratch.get(key, (None, 0, 0))
    if held_size < size:
        if held is not None:
            _outgrown.append(held)
        held_size = 1 << (size - 1).bit_length()
        if dtype == COUNTERS:
            held = memory.upload(np.zeros(held_size, dtype), stream=stream)
        else:
            held = memory.empty((held_size,), dtype, stream)
        address = memory.address(held)
        _scratch[key] = held, held_size, address
    return address


@lru_cache(maxsize=256)
def contract(
    problem: Problem,
    lanes: Lanes,
    parts: Parts,
    real: np.dtype,
    memories: tuple[Memory, Memory, Memory | None, Memory],
    device: int,
    *,
    conjugate: bool = False,
) -> Launch:
    """Return the launch of a contraction of arrays (a, b, bias or None, out), computed in the type `real`."""
    is_half = any(memory is not None and memory.dtype == np.float16 for memory in memories)
    tiles = SPARING_TILES if parts == ALL_COMPLEX or is_half else TILES
    tile, problem = select(tiles[real.itemsize], problem, multiprocessors(device))
    count = tiles_of(tile, problem)
    blocks = count * problem.splits
    numbers, counts = (blocks * tile.rows * tile.columns, count) if problem.splits > 1 else (0, 0)
    a, b, bias, out = memories
    kernel = _contraction(tile, lanes, parts, conjugate, real, _is_long(problem))
    arguments = a, b, bias or Memory(real, 0), out, Memory(real, numbers), Memory(COUNTERS, counts)
    run = bind(kernel, blocks, tile.threads, arguments, problem, device)

    def launch(addresses: tuple[int, ...], stream: Any) -> None:
        a, b, bias, out = addresses
        with _in_turn:
            sums = _scratch_memory("sums", numbers, real, stream)
            arrived = _scratch_memory("counters", counts, COUNTERS, stream)
            run((a, b, bias, out, sums, arrived), stream)

    return launch


@cache
def _fir(tile: fir.Tile, kind: fir.Kind, real: np.dtype) -> Any:
    return fir.make_kernel(tile, kind, number(real))


@lru_cache(maxsize=256)
def filter_rows(
    kind: fir.Kind,
    problem: fir.Problem,
    real: np.dtype,
    memories: tuple[Memory, Memory, Memory | None, Memory],
    device: int,
) -> Launch:
    """Return the launch that filters rows: of arrays (weight, x, bias or None, out), computed in the type `real`."""
    tile = fir.TILES[real.itemsize]
    weight, x, bias, out = memories
    blocks = min(fir.blocks(problem), MOST_BLOCKS)
    kernel = _fir(tile, kind, real)
    arguments = x, weight, bias or Memory(real, 0), out
    run = bind(kernel, blocks, tile.threads, arguments, problem, device)

    def launch(addresses: tuple[int, ...], stream: Any) -> None:
        weight, x, bias, out = addresses
        run((x, weight, bias, out), stream)

    return launch


@cache
def _packer(threads: int, parts: int, real: np.dtype) -> Any:
    return rates.make_packer(threads, parts, number(real))


@cache
def _rates(threads: int, x_parts: int, tap_parts: int, real: np.dtype, is_row: bool) -> Any:
    return rates.make_kernel(threads, x_parts, tap_parts, number(real), is_row=is_row)


@lru_cache(maxsize=256)
def change_rate(
    change: RateChange,
    sizes: tuple[int, int, int],
    parts: tuple[int, int],
    real: np.dtype,
    arrays: tuple[tuple[Memory, View], tuple[Memory, View], tuple[Memory, View]],
    device: int,
    *,
    step: int = 1,
    is_adjoint: bool = False,
) -> Launch:
    """Return the launch that changes the rate of x by h: of arrays (x, h, out).

    `sizes` are (batch, channels, banks), `parts` those of x and h.
    """
    (x, x_view), (h, h_view), (out, out_view) = arrays
    x_parts, tap_parts = parts
    packing, size = rates.packing(change, sizes[2], h_view, is_flipped=is_adjoint, is_conjugated=is_adjoint)
    numbers, threads = size * tap_parts, rates.THREADS
    taps = Memory(real, numbers)
    blocks = min(-(-size // threads), MOST_BLOCKS)
    pack = bind(_packer(threads, tap_parts, real), blocks, threads, (h, taps), packing, device)
    problem = rates.problem(change, sizes, tap_parts, x_view, out_view, step=step, threads=threads)
    kernel = _rates(threads, x_parts, tap_parts, real, rates.is_row(problem, x_parts))
    blocks = min(rates.blocks(problem, threads), MOST_BLOCKS)
    run = bind(kernel, blocks, threads, (x, taps, out), problem, device)

    def launch(addresses: tuple[int, ...], stream: Any) -> None:
        x, h, out = addresses
        with _in_turn:
            taps = _scratch_memory("taps", numbers, real, stream)
            pack((h, taps), stream)
            run((x, taps, out), stream)

    return launch


@cache
def _sums(threads: int, parts: int, real: np.dtype) -> Any:
    return sums.make_kernel(threads, parts, number(real))


@lru_cache(maxsize=256)
def sum_rows(
    sizes: tuple[int, int, int], parts: int, real: np.dtype, array: tuple[Memory, View], out: tuple[Memory, View],
    device: int,
) -> Launch:  # fmt: skip
    """Return the launch that sums an array of `sizes` (row, outer, inner) over all but its rows: of (array, out)."""
    (source, view), (target, target_view) = array, out
    kernel = _sums(sums.THREADS, parts, real)
    steps = sums.problems(sizes, parts, view, target_view, multiprocessors(device) * sums.BLOCKS, sums.THREADS)
    between = [Memory(real, sums.blocks(step) * parts) for step in steps[:-1]]
    runs = [
        bind(kernel, min(sums.blocks(step), MOST_BLOCKS), sums.THREADS, memories, step, device)
        for step, memories in zip(steps, zip((source, *between), (*between, target), strict=True), strict=True)
    ]

    def launch(addresses: tuple[int, ...], stream: Any) -> None:
        source, target = addresses
        with _in_turn:
            for number, run in enumerate(runs):
                is_last = run is runs[-1]
                there = target if is_last else _scratch_memory(f"sums {number}", between[number].size, real, stream)
                run((source, there), stream)
                source = there

    return launch


@cache
def _tap_sums(threads: int, taps: int, real: np.dtype) -> Any:
    return tap_sums.make_kernel(threads, taps, number(real))


@lru_cache(maxsize=256)
def sum_taps(
    geometry: Geometry,
    sizes: tuple[int, int],
    real: np.dtype,
    arrays: tuple[tuple[Memory, View], tuple[Memory, View], tuple[Memory, View]],
    device: int,
) -> Launch:
    """Return the launch of the gradient of a depthwise weight: of arrays (x, grad_output, out), the last (group * tap).

    `sizes` are (batch, groups).
    """
    (x, x_view), (g, g_view), (out, out_view) = arrays
    threads = tap_sums.THREADS
    wanted = multiprocessors(device) * tap_sums.BLOCKS
    problem, taps = tap_sums.problem(geometry, sizes, x_view, g_view, wanted, threads)
    rows, splits = sizes[1] * geometry.filter_size, problem.splits
    blocks, kernel = min(tap_sums.blocks(problem), MOST_BLOCKS), _tap_sums(threads, taps, real)
    work = Memory(real, rows * splits)
    run = bind(kernel, blocks, threads, (x, g, out if splits == 1 else work), problem, device)
    add = sum_rows((rows, 1, splits), 1, real, (work, View(0, (splits, 0, 1))), (out, out_view), device)

    def launch(addresses: tuple[int, ...], stream: Any) -> None:
        x, g, out = addresses
        if splits == 1:
            run(addresses, stream)
            return
        with _in_turn:
            there = _scratch_memory("tap sums", work.size, real, stream)
            run((x, g, there), stream)
            add((there, out), stream)

    return launch
