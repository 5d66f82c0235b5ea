"""The launches of all kernels: which variant, how many blocks, and the cuts of a contraction into tiles and splits.

The rule for a contraction, on a GPU of so many multiprocessors: of a few tiles the one that leaves the busiest
multiprocessor the least to do, padding included. Where the tiles do not fill the GPU the reduction is split until they
do: into no more than the square root of its slabs, for the block that adds up splits takes about as long for each of
them as for a slab. It is a rule of sizes alone, and the same for all compute capabilities from 7.5 on, because every
tile runs on all of them without spilling a register (`tests/test_cuda_code.py`). No GPU has tuned it yet.
"""

from functools import cache
from math import isqrt
from typing import Any

import numpy as np

from numba_tconv.backends.cuda import contraction, fir, memory, rates, sums
from numba_tconv.backends.cuda.compiler import SIMULATED, configured, cuda, types
from numba_tconv.backends.cuda.parts import ALL_COMPLEX, Parts, View
from numba_tconv.backends.cuda.problems import Lanes, Problem, Tile
from numba_tconv.geometry import RateChange

# By the itemsize of what is computed with: tiles for many, for fewer, and for few rows, and which share of the time of
# their main loop goes to multiplications, counted in machine code for compute capability 9.0.
TILES = {
    4: {Tile(128, 128, 8, 8, 8, 2): 0.81, Tile(64, 64, 8, 4, 8, 4): 0.69, Tile(16, 256, 4, 8, 8, 4): 0.56},
    8: {Tile(64, 64, 8, 4, 8, 4): 1.0, Tile(32, 32, 4, 4, 8, 8): 1.0, Tile(16, 128, 4, 4, 8, 4): 0.97},
}
# For products of complex numbers with a complex result, and for float16, which is converted on its way: they need more
# registers than the large ones leave.
SPARING_TILES = {
    4: {Tile(64, 64, 8, 4, 8, 4): 0.65, Tile(16, 256, 4, 8, 8, 4): 0.56},
    8: {Tile(64, 64, 8, 4, 8, 3): 1.0, Tile(32, 32, 4, 4, 8, 8): 1.0, Tile(16, 128, 4, 4, 8, 4): 0.97},
}
# What a block does before its first slab and behind its last one takes about as long as so many slabs.
FIXED_SLABS = 3
# A split's reduction is counted in 32 bits.
MOST_SLABS = 1 << 26
# A grid has more dimensions than this, but nothing needs them: blocks go on to further tiles.
MOST_BLOCKS = 1 << 20
# Places in time beyond it, or the way from one to another, need 64 bits.
LONG = 1 << 29


def multiprocessors() -> int:
    """Return how many multiprocessors the current GPU has."""
    return 1 if SIMULATED else cuda.get_current_device().MULTIPROCESSOR_COUNT


def tiles_of(tile: Tile, problem: Problem) -> int:
    """Return how many tiles the result has."""
    return problem.groups * -(-problem.m // tile.rows) * -(-problem.n // tile.columns)


def _cut(tile: Tile, problem: Problem, available: int) -> Problem:
    """Return the problem with its reduction split."""
    slabs = max(1, -(-problem.k // tile.slab))  # without anything to add up, there are zeros to write
    free = available * tile.blocks // tiles_of(tile, problem)
    splits = max(1, -(-slabs // MOST_SLABS), min(free, isqrt(slabs)))
    of_a_split = -(-slabs // splits)
    # Rows that are written together.
    rows = 4 * tile.rows // tile.thread_rows
    weave = min(problem.weave, rows.bit_length() - 1)
    return problem._replace(splits=-(-slabs // of_a_split), slabs=of_a_split, weave=weave)


def cost(tile: Tile, problem: Problem, available: int) -> int:
    """Return the products, and what takes as long, that the busiest multiprocessor has to do."""
    blocks_of_one = -(-tiles_of(tile, problem) * problem.splits // available)
    adding = problem.splits if problem.splits > 1 else 0
    return blocks_of_one * tile.rows * tile.columns * tile.slab * (problem.slabs + adding + FIXED_SLABS)


def select(tiles: dict[Tile, float], problem: Problem, available: int) -> tuple[Tile, Problem]:
    """Return the tile for a problem, and the problem with its splits, on a GPU of `available` multiprocessors."""
    cuts = {tile: _cut(tile, problem, available) for tile in tiles}
    best = min(tiles, key=lambda tile: cost(tile, cuts[tile], available) / tiles[tile])
    return best, cuts[best]


def _is_long(problem: Problem) -> bool:
    """Whether 32 bits do not hold every place in time."""
    p = problem
    reach_of_a = abs(p.a_t) + p.m_inner * abs(p.a_t_m) + p.k_inner * abs(p.a_t_k)
    reach_of_b = abs(p.b_t) + p.n_inner * abs(p.b_t_n) + p.k_inner * abs(p.b_t_k)
    reach_of_out = abs(p.out_t) + p.m_inner * abs(p.out_t_m) + p.n_inner * abs(p.out_t_n)
    return max(p.a_length, p.b_length, p.out_length, reach_of_a, reach_of_b, reach_of_out) >= LONG


def _number(real: np.dtype) -> Any:
    """Return the compiler's type of a number."""
    return {4: types.float32, 8: types.float64}[real.itemsize]


@cache
def _contraction(tile: Tile, lanes: Lanes, parts: Parts, conjugate: bool, real: np.dtype, is_long: bool) -> Any:
    time = types.int64 if is_long else types.int32
    return contraction.make_kernel(tile, lanes, parts, conjugate, _number(real), time)


_workspaces: dict[tuple[int, Any, np.dtype], tuple[Any, Any]] = {}


def _workspace(stream: Any, real: np.dtype, numbers: int, counters: int) -> tuple[Any, Any]:
    """Return memory for the sums of splits and for the counts of those that have arrived, zero between launches.

    It is a stream's own, whose launches follow one another, and grows with what is asked for.
    """
    key = memory.current_device(), stream, real
    sums, arrived = _workspaces.get(key, (None, None))
    if sums is None or sums.size < numbers:
        sums = memory.empty((numbers,), real, stream)
    if arrived is None or arrived.size < counters:
        arrived = memory.upload(np.zeros(counters, np.uint32), stream=stream)
    _workspaces[key] = sums, arrived
    return sums, arrived


def contract(
    problem_and_lanes: tuple[Problem, Lanes],
    parts: Parts,
    real: np.dtype,
    arrays: tuple[Any, Any, Any, Any],
    stream: Any,
    *,
    conjugate: bool = False,
) -> None:
    """Compute a contraction of `arrays` (a, b, bias or None, out) in the type `real`."""
    problem, lanes = problem_and_lanes
    is_half = any(array is not None and array.dtype == np.float16 for array in arrays)
    tiles = SPARING_TILES if parts == ALL_COMPLEX or is_half else TILES
    tile, problem = select(tiles[real.itemsize], problem, multiprocessors())
    count = tiles_of(tile, problem)
    blocks = count * problem.splits
    numbers, counters = (blocks * tile.rows * tile.columns, count) if problem.splits > 1 else (1, 1)
    sums, arrived = _workspace(stream, real, numbers, counters)
    kernel = _contraction(tile, lanes, parts, conjugate, real, _is_long(problem))
    a, b, bias, out = arrays
    configured(kernel, blocks, tile.threads, stream)(a, b, sums if bias is None else bias, out, sums, arrived, problem)


@cache
def _fir(tile: fir.Tile, kind: fir.Kind, real: np.dtype) -> Any:
    return fir.make_kernel(tile, kind, _number(real))


def filter_rows(
    kind_and_problem: tuple[fir.Kind, fir.Problem], real: np.dtype, arrays: tuple[Any, ...], stream: Any
) -> None:
    """Filter the rows of `arrays` (x, weight, bias or None, out), computed in the type `real`."""
    kind, problem = kind_and_problem
    tile = fir.TILES[real.itemsize]
    x, weight, bias, out = arrays
    blocks = min(fir.blocks(problem), MOST_BLOCKS)
    kernel = _fir(tile, kind, real)
    configured(kernel, blocks, tile.threads, stream)(x, weight, weight if bias is None else bias, out, problem)


@cache
def _packer(threads: int, parts: int, real: np.dtype) -> Any:
    return rates.make_packer(threads, parts, _number(real))


@cache
def _rates(threads: int, x_parts: int, tap_parts: int, real: np.dtype, is_row: bool) -> Any:
    return rates.make_kernel(threads, x_parts, tap_parts, _number(real), is_row=is_row)


def change_rate(
    change: RateChange,
    sizes: tuple[int, int, int],
    parts: tuple[int, int],
    real: np.dtype,
    arrays: tuple[tuple[Any, View], tuple[Any, View], tuple[Any, View]],
    stream: Any,
    *,
    step: int = 1,
    is_adjoint: bool = False,
) -> None:
    """Change the rate of x by h; `sizes` (batch, channels, banks), `parts` of x and h, `arrays` x, h and out."""
    (x, x_view), (h, h_view), (out, out_view) = arrays
    x_parts, tap_parts = parts
    packing, size = rates.packing(change, sizes[2], h_view, is_flipped=is_adjoint, is_conjugated=is_adjoint)
    taps = memory.empty((size * tap_parts,), real, stream)
    threads = rates.THREADS
    blocks = min(-(-size // threads), MOST_BLOCKS)
    configured(_packer(threads, tap_parts, real), blocks, threads, stream)(h, taps, packing)
    problem = rates.problem(change, sizes, tap_parts, x_view, out_view, step=step, threads=threads)
    kernel = _rates(threads, x_parts, tap_parts, real, rates.is_row(problem, x_parts))
    blocks = min(rates.blocks(problem, threads), MOST_BLOCKS)
    configured(kernel, blocks, threads, stream)(x, taps, out, problem)


@cache
def _sums(threads: int, parts: int, real: np.dtype) -> Any:
    return sums.make_kernel(threads, parts, _number(real))


def sum_rows(
    sizes: tuple[int, int, int], parts: int, real: np.dtype, array: tuple[Any, View], out: tuple[Any, View], stream: Any
) -> None:
    """Sum an array of `sizes` (row, outer, inner) over all but its rows."""
    (source, view), (target, target_view) = array, out
    kernel = _sums(sums.THREADS, parts, real)
    steps = sums.problems(sizes, parts, view, target_view, multiprocessors() * sums.BLOCKS, sums.THREADS)
    for step in steps:
        is_last = step is steps[-1]
        there = target if is_last else memory.empty((sums.blocks(step) * parts,), real, stream)
        configured(kernel, min(sums.blocks(step), MOST_BLOCKS), sums.THREADS, stream)(source, there, step)
        source = there
