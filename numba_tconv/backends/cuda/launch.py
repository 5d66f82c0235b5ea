"""How a contraction is cut into tiles and splits for a GPU, and its launch.

The rule, for a GPU of `multiprocessors`: the largest tile whose blocks fill the GPU once is taken, because it reads the
least memory for each multiplication; where none does, the smallest, and the reduction is split until the GPU is full or
a split has only `FEWEST_SLABS` slabs left. It is a rule of sizes alone and the same for all compute capabilities from
7.5 on: the tiles need no more than the registers and the shared memory that each of them has.
"""

from functools import cache
from typing import Any

import numpy as np

from numba_tconv.backends.cuda import memory
from numba_tconv.backends.cuda.compiler import SIMULATED, cuda, types
from numba_tconv.backends.cuda.contraction import Lanes, Problem, Tile, make_kernel
from numba_tconv.backends.cuda.parts import Parts

# By the itemsize of what is computed with: for many rows, for few tiles, for few rows.
TILES = {
    4: (Tile(128, 128, 8, 8, 8, 2), Tile(64, 64, 4, 4, 8, 4), Tile(16, 256, 4, 8, 8, 4)),
    8: (Tile(128, 64, 8, 4, 8, 1), Tile(64, 64, 4, 4, 8, 2), Tile(16, 256, 4, 4, 8, 2)),
}
# Splits cost a pass over the result each, and slabs of 8 products cost less than their loads.
FEWEST_SLABS = 32
# A grid has more dimensions than this, but nothing needs them: blocks go on to further tiles.
MOST_BLOCKS = 1 << 20
# Longer signals have places in time that 32 bits do not hold, with a filter's reach to either side.
LONG = 1 << 29


@cache
def multiprocessors() -> int:
    """Return how many multiprocessors the GPU has."""
    return 1 if SIMULATED else cuda.get_current_device().MULTIPROCESSOR_COUNT


def tiles_of(tile: Tile, problem: Problem) -> int:
    """Return how many tiles the result has."""
    return problem.groups * -(-problem.m // tile.rows) * -(-problem.n // tile.columns)


def select(tiles: tuple[Tile, Tile, Tile], problem: Problem, available: int) -> tuple[Tile, Problem]:
    """Return the tile for a problem, and the problem with its splits, on a GPU of `available` multiprocessors."""
    large, medium, flat = tiles
    if problem.m <= flat.rows:
        tile = flat
    else:
        tile = large if tiles_of(large, problem) >= available * large.blocks else medium
    slabs = -(-problem.k // tile.slab)
    wanted = available * tile.blocks // tiles_of(tile, problem)
    splits = max(1, min(wanted, slabs // FEWEST_SLABS))
    per_split = -(-slabs // splits)
    rows_of_a_chunk = tile.rows // (tile.thread_rows // 4)
    return tile, problem._replace(
        splits=-(-slabs // per_split),
        slabs=per_split,
        weave=min(problem.weave, rows_of_a_chunk.bit_length() - 1),
    )


@cache
def _kernel(tile: Tile, lanes: Lanes, parts: Parts, conjugate: bool, real: np.dtype, is_long: bool) -> Any:
    number = {4: types.float32, 8: types.float64}[real.itemsize]
    return make_kernel(tile, lanes, parts, conjugate, number, types.int64 if is_long else types.int32)


_workspaces: dict[tuple[Any, np.dtype], tuple[Any, Any]] = {}


def _workspace(stream: Any, real: np.dtype, numbers: int, counters: int) -> tuple[Any, Any]:
    """Return memory for the sums of splits and for the counts of those that have arrived, zero between launches.

    It is a stream's own, whose launches follow one another, and grows with what is asked for.
    """
    sums, arrived = _workspaces.get((stream, real), (None, None))
    if sums is None or sums.size < numbers:
        sums = memory.empty((numbers,), real, stream)
    if arrived is None or arrived.size < counters:
        arrived = memory.upload(np.zeros(counters, np.uint32), stream=stream)
    _workspaces[stream, real] = sums, arrived
    return sums, arrived


def contract(
    contraction: tuple[Problem, Lanes],
    parts: Parts,
    real: np.dtype,
    arrays: tuple[Any, Any, Any, Any],
    stream: Any,
    *,
    conjugate: bool = False,
) -> None:
    """Compute a contraction of `arrays` (a, b, bias or None, out) in the type `real`."""
    problem, lanes = contraction
    tile, problem = select(TILES[real.itemsize], problem, multiprocessors())
    tiles = tiles_of(tile, problem)
    is_split = problem.splits > 1
    numbers = tiles * problem.splits * tile.rows * tile.columns if is_split else 1
    sums, arrived = _workspace(stream, real, numbers, tiles if is_split else 1)
    is_long = max(problem.a_length, problem.b_length, problem.out_length) >= LONG
    kernel = _kernel(tile, lanes, parts, conjugate, real, is_long)
    blocks = min(tiles * problem.splits, MOST_BLOCKS)
    a, b, bias, out = arrays
    kernel[blocks, tile.threads, stream](a, b, sums if bias is None else bias, out, sums, arrived, tuple(problem))
