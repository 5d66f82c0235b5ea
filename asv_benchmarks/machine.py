"""What this machine can do: fused multiply-adds and bytes copied per second, as Numba's code reaches them.

Here belong the two measures that a benchmark row is compared with. Both take no more threads than Numba is set to use.
"""

import time
from collections.abc import Callable
from functools import cache

import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

# Independent sums: enough to hide a latency of 5 cycles on two units, few enough for 16 registers.
CHAINS = 12
# About a millisecond: long beside the start of the threads, short enough that some runs go undisturbed.
STEPS = 300_000


@intrinsic(prefer_literal=True)
def _fma_chains(typingctx, factor, steps, lanes):  # type: ignore[no-untyped-def]
    """Run `steps` times through CHAINS vectors of `lanes` numbers, `sum = factor*sum + factor`; return one number."""
    if not isinstance(lanes, types.IntegerLiteral):
        return None
    width = lanes.literal_value

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        vector = ir.VectorType(args[0].type, width)
        start = ir.Constant(vector, [1.0] * width)
        factor = ir.Constant(vector, ir.Undefined)
        for lane in range(width):
            factor = builder.insert_element(factor, args[0], ir.Constant(ir.IntType(32), lane))
        # Different starting values, or LLVM would see that the chains are one.
        chains = [cgutils.alloca_once(builder, vector) for _ in range(CHAINS)]
        for chain in chains:
            builder.store(start, chain)
            start = builder.fadd(start, factor)
        name = f"llvm.fmuladd.v{width}f{32 if isinstance(args[0].type, ir.FloatType) else 64}"
        multiply_add = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        with cgutils.for_range(builder, args[1]):
            for chain in chains:
                # Fused where the target can. (Of a product and a sum that it may contract, LLVM kept one chain apart.)
                builder.store(builder.call(multiply_add, [builder.load(chain), factor, factor]), chain)
        total = builder.load(chains[0])
        for chain in chains[1:]:
            total = builder.fadd(total, builder.load(chain))
        # Every lane counts, or LLVM would compute only those that do.
        result = builder.extract_element(total, ir.Constant(ir.IntType(32), 0))
        for lane in range(1, width):
            result = builder.fadd(result, builder.extract_element(total, ir.Constant(ir.IntType(32), lane)))
        return result

    return factor(factor, steps, lanes), codegen


@cache
def _fma_kernel(lanes: int) -> Callable:
    """Return the kernel that runs the chains on every thread at once."""

    @njit(parallel=True, nogil=True)
    def kernel(factor, steps, results):  # type: ignore[no-untyped-def]
        for thread in prange(results.size):
            results[thread] = _fma_chains(factor, steps, lanes)

    return kernel


@njit(parallel=True, nogil=True)
def _copy_kernel(source, target, threads, repeats):  # type: ignore[no-untyped-def]
    for thread in prange(threads):
        begin, end = source.size * thread // threads, source.size * (thread + 1) // threads
        for _ in range(repeats):
            target[begin:end] = source[begin:end]


def seconds_of(call: Callable, repeats: int = 1) -> float:
    """Return the mean time of `repeats` calls."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def fma_peak(dtype: str, threads: int) -> float:
    """Return the GFLOP/s of nothing but fused multiply-adds, the best of several runs and of three vector widths.

    Parameters
    ----------
    dtype : {'float32', 'float64'}
    threads : int

    Returns
    -------
    float
        Additions and multiplications, each counted, in 1e9 per second, of all threads together.
    """
    scalar = np.dtype(dtype).type
    results = np.empty(threads, dtype)
    peak = 0.0
    # Asking for a width that the target lacks is only slower, so no list of its features is needed.
    for vector_bytes in (16, 32, 64):
        lanes = vector_bytes // scalar().itemsize
        kernel = _fma_kernel(lanes)
        kernel(scalar(0.5), 1, results)
        seconds = min(seconds_of(lambda: kernel(scalar(0.5), STEPS, results)) for _ in range(30))  # noqa: B023
        peak = max(peak, 2 * CHAINS * lanes * STEPS * threads / seconds / 1e9)
    return peak


def copy_bandwidth(n_bytes: int, threads: int) -> float:
    """Return the GB/s of a copy that moves `n_bytes`, half of them read and half written, between two fixed arrays.

    The threads are started once for many copies: what is measured is memory, or the cache that so many bytes fit in.

    Parameters
    ----------
    n_bytes : int
    threads : int

    Returns
    -------
    float
        Bytes read and bytes written, in 1e9 per second; the best of several runs.
    """
    source = np.zeros(max(threads, n_bytes // 2), np.uint8)
    target = np.zeros_like(source)
    # Enough bytes for a run to outlast the start of the threads a hundred times: a millisecond and more.
    repeats = max(1, 2**26 // source.size)
    _copy_kernel(source, target, threads, repeats)
    seconds = min(seconds_of(lambda: _copy_kernel(source, target, threads, repeats)) for _ in range(9))
    return 2 * source.size * repeats / seconds / 1e9
