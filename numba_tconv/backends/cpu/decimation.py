"""The gradient of x where every channel has one short filter of its own: each signal is filtered and decimated alone.

    grad_x[n, c, i] = sum_k weight[c, k] * g[n, c, stride*i + k - left]

This is work for memory, not for arithmetic. Samples are sorted by their place modulo the stride in registers, where
they are used; neither they nor the weights are copied, but for what lies beyond a signal's ends. A layer of few samples
takes 30 ns a channel. Long filters sort their samples once, for all taps: they are `polyphase.py`'s.
"""

from functools import lru_cache

import numpy as np
from numba import literally

from numba_tconv.backends.cpu import jit, threads
from numba_tconv.backends.cpu.grad_x import kernel_arguments
from numba_tconv.backends.cpu.moves import MOST_WOVEN
from numba_tconv.backends.cpu.staging import stage_samples
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.tile import decimate_run
from numba_tconv.backends.cpu.turns import take, take_first
from numba_tconv.backends.cpu.vectors import address, integers_at
from numba_tconv.geometry import Geometry

# Of a filter, but for a signal of few results, which takes as long as its set-up. With 4 taps and stride 2 this is 2.3
# to 3.2 times as fast as `polyphase.py`, with 32 taps and 1,000 samples, or with stride 1, 0.7 to 0.95 times.
MOST_TAPS, FEW_RESULTS = 16, 64
# Of an item: results of a signal, and of as many signals as have no more together.
MOST_RESULTS = 8192
# Multiply-adds that take as long as a signal takes whatever its length.
WORK_OF_SIGNAL = 1 << 10

(
    ITEMS, CHANNELS, SIGNALS, SIGNALS_OF_ITEM, BLOCKS, BLOCK, LENGTH, OUTPUT_LENGTH, TAPS, STRIDE, LEFT, SCRATCH,
) = range(12)  # fmt: skip


@jit.once
def kernel(dtype):
    """Return the compiled kernel `(weight, g, out, scratch, problem, turns, worker)`; weight is (channel, tap)."""
    lanes, itemsize = host().lanes(dtype.itemsize), dtype.itemsize

    def run(weight, g, out, scratch, problem, turns, worker):
        problem = integers_at(address(problem))
        channels, length, taps = problem[CHANNELS], problem[LENGTH], problem[TAPS]
        stride, left, size = problem[STRIDE], problem[LEFT], problem[OUTPUT_LENGTH]
        stage, reach = worker * problem[SCRATCH], (taps - 1) // stride
        index = take_first(turns)
        while index < problem[ITEMS]:
            signals, block = divmod(index, problem[BLOCKS])
            first = signals * problem[SIGNALS_OF_ITEM]
            begin = block * problem[BLOCK]
            end = min(length, begin + problem[BLOCK])
            # Vectors of results that see nothing beyond the signal, from `inner` on and before `outer`.
            inner = begin + -(-max(0, -((stride * begin - left) // stride)) // lanes) * lanes
            outer = inner + max(0, (min(end, (size + left) // stride - reach) - inner) // lanes) * lanes
            for signal in range(first, min(first + problem[SIGNALS_OF_ITEM], problem[SIGNALS])):
                n, c = divmod(signal, channels)
                source = address(g) + n * g.strides[0] + c * g.strides[1] - left * itemsize
                target = address(out) + n * out.strides[0] + c * out.strides[1]
                filter_at = address(weight) + c * taps * itemsize
                if inner < outer:
                    decimate_run(
                        source + inner * stride * itemsize, filter_at, target + inner * itemsize,
                        (outer - inner, taps), scratch, stride, literally(lanes),
                    )  # fmt: skip
                for start, stop in ((begin, min(inner, end)), (outer, end)):
                    for i in range(start, stop, lanes):
                        stage_samples(
                            g, n, c, stride * i - left, 0, stride * (lanes + reach), size, False, scratch, stage
                        )
                        decimate_run(
                            address(scratch) + stage * itemsize, filter_at, target + i * itemsize,
                            (min(lanes, end - i), taps), scratch, stride, literally(lanes),
                        )  # fmt: skip
            index = take(turns)

    return jit.compile_kernel(run, kernel_arguments(dtype, dtype, dtype))


@lru_cache(maxsize=4096)
def _problem(geometry: Geometry, lanes: int, batch: int, channels: int) -> tuple[np.ndarray, int]:
    """Return the kernel's integers, and the numbers of scratch for one worker."""
    length, signals = geometry.length, batch * channels
    block = min(-(-length // lanes) * lanes, MOST_RESULTS)
    signals_of_item = max(1, min(MOST_RESULTS // block, signals // 8))
    blocks = -(-length // block)
    # Whole cache lines, for workers that write side by side.
    scratch = -(-geometry.stride * (lanes + (geometry.filter_size - 1) // geometry.stride) // 16) * 16
    values = {
        ITEMS: -(-signals // signals_of_item) * blocks,
        CHANNELS: channels,
        SIGNALS: signals,
        SIGNALS_OF_ITEM: signals_of_item,
        BLOCKS: blocks,
        BLOCK: block,
        LENGTH: length,
        OUTPUT_LENGTH: geometry.output_length,
        TAPS: geometry.filter_size,
        STRIDE: geometry.stride,
        LEFT: geometry.left,
        SCRATCH: scratch,
    }
    return np.array([int(values[k]) for k in range(len(values))], np.int64), scratch


def serves(geometry: Geometry) -> bool:
    """Whether the filters are short enough, or the signals."""
    is_short = geometry.filter_size <= MOST_TAPS and geometry.stride > 1
    return (is_short or geometry.length <= FEW_RESULTS) and geometry.stride <= MOST_WOVEN


def input_gradient(geometry: Geometry, g: np.ndarray, weight: np.ndarray, out: np.ndarray) -> None:
    """Write the gradient of x to `out` (batch, channel, length, 1); weight is (channel, tap).

    `g` and `out` have one dtype, and their time is contiguous.
    """
    batch, channels, length, _ = out.shape
    n_workers = threads.workers(batch * channels * (WORK_OF_SIGNAL + length * geometry.filter_size))
    integers, size = _problem(geometry, host().lanes(out.itemsize), batch, channels)
    scratch = np.empty(size * n_workers, out.dtype)
    filters = np.ascontiguousarray(weight, out.dtype).reshape(-1)
    threads.launch(kernel(out.dtype), (filters, g, out, scratch, integers), n_workers)
