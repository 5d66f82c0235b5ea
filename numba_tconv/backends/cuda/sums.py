"""Sums over two axes of an array: the gradient of the bias, over the batch and time.

    out[m] = sum_{n, t} a[m, n, t]

A block sums a share of a row's terms, which are counted through both axes. Shares leave their sums in memory, where
the same kernel adds them up. A thread adds few terms to each of its sums, and threads are added in a fixed tree: so
float32 stays accurate for any number of terms, and equal calls give equal bits.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from numba_tconv.backends.cuda.access import load, store
from numba_tconv.backends.cuda.compiler import ALIGNMENT, compile_kernel, cuda, inlined, types
from numba_tconv.backends.cuda.parts import View

int32, int64, uint32 = types.int32, types.int64, types.uint32
THREADS, BLOCKS = 256, 3  # a power of two; more blocks have too few registers for float64
SUMS = 4  # of a thread: loads that do not wait for each other
LONGEST = 1024  # terms of one of them
SHORTEST = 8  # below, a block takes longer to begin and to end than to sum


class Problem(NamedTuple):
    """The integers of a sum; strides in real numbers."""

    rows: int
    outer: int
    inner: int
    splits: int
    share: int  # terms of a split
    start: int
    row: int
    outer_step: int
    inner_step: int
    out_start: int
    out_row: int
    out_split: int


def problems(
    sizes: tuple[int, int, int], parts: int, array: View, out: View, blocks: int, threads: int = THREADS
) -> list[Problem]:
    """Return the one or two sums that lead from `array` (row, outer, inner) of `sizes` to `out` (row).

    Where there are two, the first goes to contiguous work, (row, split), from which the second goes on; so many
    `blocks` are wanted to fill the GPU.
    """
    rows, outer, inner = sizes
    terms, turn = outer * inner, threads * SUMS
    share = min(turn * LONGEST, max(turn * SHORTEST, -(-terms * rows // blocks)))
    splits = max(1, -(-terms // share))
    first = Problem(
        rows=rows,
        outer=outer,
        inner=inner,
        splits=splits,
        share=share,
        start=array.start,
        row=array.strides[0],
        outer_step=array.strides[1],
        inner_step=array.strides[2],
        out_start=out.start,
        out_row=out.strides[0],
        out_split=0,
    )
    if splits == 1:
        return [first]
    work = View(0, (splits * parts, 0, parts))
    return [
        first._replace(out_start=0, out_row=splits * parts, out_split=parts),
        *problems((rows, 1, splits), parts, work, out, 1, threads),
    ]


def blocks(problem: Problem) -> int:
    """Return how many blocks have something to do."""
    return problem.rows * problem.splits


def make_tree(threads: int, count: int) -> Callable:
    """Return how a block adds, for each of `count` sums, the threads' shares (sum, thread) in shared memory.

    In a fixed order; the result, which all threads then see, is that of thread 0.
    """

    @inlined
    def add_threads(stage, thread):
        """Halve the threads until one is left."""
        half = threads >> 1
        while half > 0:
            cuda.syncthreads()
            if thread < half:
                for i in range(uint32(count)):
                    at = int32(i) * threads + thread
                    store(stage, at, load(stage, at) + load(stage, at + half))
            half >>= 1
        cuda.syncthreads()

    return add_threads


def make_kernel(threads: int, parts: int, real: Any) -> Any:
    """Return the kernel `(a, out, problem)` that computes in the type `real`."""
    TURN = threads * SUMS
    STAGE = threads * parts
    add_threads = make_tree(threads, parts)

    def total(a, out, problem):
        (
            rows, outer, inner, splits, share, start, row_step, outer_step, inner_step, out_start, out_row, out_split,
        ) = problem  # fmt: skip
        stage = cuda.shared.array(STAGE, real, ALIGNMENT)
        sums = cuda.local.array((SUMS, parts), real)
        values = cuda.local.array((SUMS, parts), real)
        thread = int32(cuda.threadIdx.x)
        turns, turn = threads // inner, threads % inner
        item, items = uint32(cuda.blockIdx.x), uint32(rows * splits)
        while item < items:
            row, split = int64(item // uint32(splits)), int64(item % uint32(splits))
            begin, end = split * share + thread, min((split + 1) * share, outer * inner)
            n, t = begin // inner, begin % inner
            row_at = start + row * row_step
            for s in range(uint32(SUMS)):
                for part in range(uint32(parts)):
                    sums[s, part] = real(0)
            for term in range(begin, end, TURN):
                for s in range(uint32(SUMS)):
                    at = row_at + n * outer_step + t * inner_step
                    is_there = term + int64(s) * threads < end
                    for part in range(uint32(parts)):
                        values[s, part] = real(load(a, at + int64(part))) if is_there else real(0)
                    carry = t + turn >= inner
                    n += turns + 1 if carry else turns
                    t += turn - inner if carry else turn
                for s in range(uint32(SUMS)):
                    for part in range(uint32(parts)):
                        sums[s, part] += values[s, part]
            for part in range(uint32(parts)):
                store(
                    stage, int32(part) * threads + thread,
                    (sums[0, part] + sums[1, part]) + (sums[2, part] + sums[3, part]),
                )  # fmt: skip
            add_threads(stage, thread)
            if thread < parts:
                store(out, out_start + row * out_row + split * out_split + thread, load(stage, thread * threads))
            cuda.syncthreads()
            item = uint32(item + cuda.gridDim.x)

    return compile_kernel(total, threads, BLOCKS)
