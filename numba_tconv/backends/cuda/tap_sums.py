"""The gradient of the weight of groups with one channel and one filter: for each tap, a sum over batch and time.

    out[group, k] = sum_{n, i} x[n, group, i] * grad_output[n, group, stride*i + dilation*k - left]

Everything is real. A contraction's tiles would be nearly empty: of 16 rows a group has one. Here a block sums a share
of a group's products for a few taps, which meet neighbouring samples of grad_output, so that the cache serves all but
one of them. Threads are added in a fixed tree, and shares leave their sums in memory, for `sums.py` to add up.
"""

from typing import Any, NamedTuple

from numba_tconv.backends.cuda.access import load, store
from numba_tconv.backends.cuda.compiler import ALIGNMENT, compile_kernel, cuda, types
from numba_tconv.backends.cuda.loading import inside
from numba_tconv.backends.cuda.parts import View
from numba_tconv.backends.cuda.sums import make_tree
from numba_tconv.geometry import Geometry

int32, int64, uint32, uint64 = types.int32, types.int64, types.uint32, types.uint64
THREADS, BLOCKS = 256, 4  # a power of two
# Taps of a block, of a thread's sums: the fewest that hold the filter, so that short filters do not load in vain.
TAPS = (4, 16)
LONGEST = 1024  # terms of a sum
SHORTEST = 8  # below, a block takes longer to begin and to end than to sum


class Problem(NamedTuple):
    """The integers of the sums; strides in real numbers."""

    groups: int
    chunks: int  # of taps
    splits: int
    share: int  # terms of a split
    batch: int
    length: int
    filter_size: int
    x_start: int
    x_n: int
    x_group: int
    x_time: int
    g_start: int
    g_n: int
    g_group: int
    g_time: int
    g_length: int
    stride: int
    dilation: int
    left: int


def problem(
    geometry: Geometry, sizes: tuple[int, int], x: View, grad_output: View, blocks: int, threads: int = THREADS
) -> tuple[Problem, int]:
    """Return the integers for `sizes` (batch, groups), and how many taps a block takes.

    So many `blocks` are wanted to fill the GPU.
    """
    batch, groups = sizes
    taps = next((some for some in TAPS if some >= geometry.filter_size), TAPS[-1])
    chunks, terms = -(-geometry.filter_size // taps), batch * geometry.length
    share = min(threads * LONGEST, max(threads * SHORTEST, -(-terms * groups * chunks // blocks)))
    return Problem(
        groups=groups,
        chunks=chunks,
        splits=max(1, -(-terms // share)),
        share=share,
        batch=batch,
        length=geometry.length,
        filter_size=geometry.filter_size,
        x_start=x.start,
        x_n=x.strides[0],
        x_group=x.strides[1],
        x_time=x.strides[2],
        g_start=grad_output.start,
        g_n=grad_output.strides[0],
        g_group=grad_output.strides[1],
        g_time=grad_output.strides[2],
        g_length=geometry.output_length,
        stride=geometry.stride,
        dilation=geometry.dilation,
        left=geometry.left,
    ), taps


def blocks(problem: Problem) -> int:
    """Return how many blocks have something to do."""
    return problem.groups * problem.chunks * problem.splits


def make_kernel(threads: int, taps: int, real: Any) -> Any:
    """Return the kernel `(x, grad_output, out, problem)` that computes in the type `real`, and writes (tap, split)."""
    TAPS, STAGE = taps, taps * threads
    add_threads = make_tree(threads, taps)

    def tap_sums(x, grad_output, out, problem):
        (
            groups, chunks, splits, share, batch, length, filter_size, x_start, x_n, x_group, x_time,
            g_start, g_n, g_group, g_time, g_length, stride, dilation, left,
        ) = problem  # fmt: skip
        stage = cuda.shared.array(STAGE, real, ALIGNMENT)
        sums = cuda.local.array(TAPS, real)
        thread = int32(cuda.threadIdx.x)
        item, items = uint32(cuda.blockIdx.x), uint32(groups * chunks * splits)
        while item < items:
            rest, split = uint32(item // uint32(splits)), int64(item % uint32(splits))
            group, first = int64(rest // uint32(chunks)), int64(rest % uint32(chunks)) * TAPS
            for u in range(uint32(TAPS)):
                sums[u] = real(0)
            term, end = split * share + thread, min((split + 1) * share, batch * length)
            n, i = int64(uint64(term) // uint64(length)), int64(uint64(term) % uint64(length))
            while term < end:
                value = real(load(x, x_start + n * x_n + group * x_group + i * x_time))
                when = stride * i + dilation * first - left
                place = g_start + n * g_n + group * g_group + when * g_time
                for u in range(uint32(TAPS)):
                    if inside(when + int64(u) * dilation, g_length, uint64):
                        sums[u] += value * real(load(grad_output, place + int64(u) * dilation * g_time))
                term += threads
                i += threads
                while i >= length:
                    i -= length
                    n += 1
            for u in range(uint32(TAPS)):
                store(stage, int32(u) * threads + thread, sums[u])
            add_threads(stage, thread)
            u = thread
            while u < TAPS and first + u < filter_size:
                store(out, (group * filter_size + first + u) * splits + split, load(stage, u * threads))
                u = int32(u + threads)
            cuda.syncthreads()
            item = uint32(item + cuda.gridDim.x)

    return compile_kernel(tap_sums, threads, BLOCKS)
