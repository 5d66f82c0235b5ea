"""How the weights of one operator are cut into panels; nothing here depends on the length of a signal.

Complex numbers become real ones here, without waste. Real weights see a complex input as twice the signals, or, where
time is contiguous, as one signal of pairs. Complex weights make each filter two (real and imaginary result), and with
a complex input each channel two as well: `[yr, yi] = [[wr, -wi], [wi, wr]] [xr, xi]`.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import gcd

import numpy as np
from numba import types

from numba_tconv.backends.cpu import jit, threads
from numba_tconv.backends.cpu.staging import copy_bytes, zero_run
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.tile import address

# The edges of a FIR tile are staged with their whole halo; a longer one goes through panels, which block the taps.
FIR_STAGE_BYTES = 1 << 22
FIR_ROWS = 12


@dataclass(frozen=True, eq=False)
class Layout:
    """The panels of one operator: `panels[group][block][channel][tap][width]`, flat. Equal by identity: made once.

    Attributes
    ----------
    dtype : np.dtype
        Real dtype that is computed in.
    groups, channels, filters : int
        Groups, and the caller's input channels and filters of one group.
    x_parts, weight_parts : int
        2 for complex, 1 for real.
    filter_size, branches, taps, input_step : int
        Of `Geometry`: taps of the filter, branches, taps of the longest branch, input samples between them.
    is_fir : bool
        Whether lanes run along time, with a filter's branches as rows; else lanes run along filters and branches.
    width : int
        Numbers of a panel that stand side by side.
    """

    dtype: np.dtype
    groups: int
    channels: int
    filters: int
    x_parts: int
    weight_parts: int
    filter_size: int
    branches: int
    taps: int
    input_step: int
    is_fir: bool
    width: int

    @cached_property
    def filter_lanes(self) -> int:
        """Outputs of a filter in one row: branches, times two for complex weights."""
        return self.branches * self.weight_parts

    @cached_property
    def reduced_channels(self) -> int:
        """Real channels that are summed over."""
        return self.channels * self.x_parts if self.weight_parts == 2 else self.channels

    @cached_property
    def signals(self) -> int:
        """Real signals for one of the caller's."""
        return self.x_parts if self.weight_parts == 1 else 1

    @cached_property
    def parts(self) -> int:
        """2 for complex results, 1 for real ones."""
        return max(self.x_parts, self.weight_parts)

    @cached_property
    def x_dtype(self) -> np.dtype:
        """Dtype of an input that can be read in place."""
        return self.dtype if self.x_parts == 1 else np.result_type(self.dtype, np.complex64)

    @cached_property
    def out_dtype(self) -> np.dtype:
        """Dtype of an output that can be written in place."""
        return self.dtype if self.parts == 1 else np.result_type(self.dtype, np.complex64)

    @cached_property
    def blocks(self) -> int:
        """Panels of one group."""
        return -(-self.filters * self.filter_lanes // self.width)

    @cached_property
    def size(self) -> int:
        """Numbers in all panels."""
        return self.groups * self.blocks * self.reduced_channels * self.taps * self.width

    @cached_property
    def zero_bias(self) -> np.ndarray:
        """The bias of an operator that has none: (filters * parts,), flat, read-only."""
        bias = np.zeros(self.groups * self.filters * self.parts, self.dtype)
        bias.flags.writeable = False
        return bias

    @cached_property
    def pack_problem(self) -> np.ndarray:
        """The packing kernel's integers."""
        size = self.filter_size * self.weight_parts
        values = {
            GROUPS: self.groups,
            BLOCKS: self.blocks,
            FILTERS: self.filters,
            REDUCED: self.reduced_channels,
            FILTER_SIZE: size,
            FILTER_LANES: self.filter_lanes,
            TAPS: self.taps,
            WIDTH: self.width,
        }
        return np.array([values[k] for k in range(len(values))], np.int64)


@lru_cache(maxsize=4096)
def plan_layout(
    dtype: np.dtype,
    *,
    groups: int,
    channels: int,
    filters: int,
    filter_size: int,
    stride: int,
    dilation: int,
    x_parts: int,
    weight_parts: int,
) -> Layout:
    """Choose the path and the width of the panels.

    Lanes along filters and branches reuse every loaded weight for R rows and waste nothing on short signals, so they
    serve wherever a group has lanes enough for them. What is left has few filters: lanes along time, which
    also read and write the caller's arrays without a detour.
    """
    common = gcd(stride, dilation)
    branches, input_step = stride // common, dilation // common
    taps = -(-filter_size // branches)
    rows = branches * weight_parts
    lanes = host().lanes(dtype.itemsize)
    vectors = -(-filters * rows // lanes)
    reduced = channels * (x_parts if weight_parts == 2 else 1)
    longest = reduced * (host().fir_vectors(rows) * lanes + (taps - 1) * input_step) * dtype.itemsize
    is_few = filters * rows < (2 * lanes if rows > 1 else lanes)
    is_fir = rows <= FIR_ROWS and is_few and longest <= FIR_STAGE_BYTES
    # Single-vector panels fit an odd number of vectors; past seven, an idle last vector costs less than
    # loading each scalar for one multiplication instead of two (5 % on Zen 4).
    width = rows if is_fir else lanes * (1 if vectors % 2 and vectors <= 7 else 2)
    return Layout(
        dtype, groups, channels, filters, x_parts, weight_parts, filter_size, branches, taps, input_step, is_fir, width
    )


(GROUPS, BLOCKS, FILTERS, REDUCED, FILTER_SIZE, FILTER_LANES, TAPS, WIDTH) = range(8)


@jit.once
def _pack_kernel(dtype):
    """Return the kernel `(weight, panels, problem, worker, n_workers)`, weight flat: (channel, filter, tap * part)."""
    itemsize = dtype.itemsize

    def pack_share(weight, panels, problem, worker, n_workers):
        filters, reduced, width = problem[FILTERS], problem[REDUCED], problem[WIDTH]
        size, rows, taps = problem[FILTER_SIZE], problem[FILTER_LANES], problem[TAPS]
        count = problem[GROUPS] * reduced
        # Channel by channel, all panels of each: weights are read in one run. Panel by panel, every read of a layer
        # with large strides came from another page: 14.9 ms instead of 11.0 for 2049 -> 1 (4096, 1024).
        for index in range(worker * count // n_workers, (worker + 1) * count // n_workers):
            group, channel = divmod(index, reduced)
            for block in range(problem[BLOCKS]):
                panel = ((group * problem[BLOCKS] + block) * reduced + channel) * taps * width
                lane = 0
                while lane < width:
                    f, row = divmod(block * width + lane, rows)
                    run = min(width - lane, rows - row)
                    source = (index * filters + f) * size
                    for j in range(taps):
                        at = panel + j * width + lane
                        tap = row + rows * j
                        # Taps and filters that do not exist are zero.
                        inside = max(0, min(run, size - tap)) if f < filters else 0
                        origin, target = address(weight) + (source + tap) * itemsize, address(panels) + at * itemsize
                        # A copy of known size is two instructions, any other a call: dear for 4 or 8 taps.
                        if inside * itemsize == 32:
                            copy_bytes(target, origin, 32)
                        elif inside * itemsize == 16:
                            copy_bytes(target, origin, 16)
                        elif inside > 0:
                            copy_bytes(target, origin, inside * itemsize)
                        if inside < run:
                            zero_run(panels, at + inside, run - inside)
                    lane += run

    weight, panels = jit.array(dtype, 1, readonly=True), jit.array(dtype, 1)
    problem = jit.array(np.int64, 1, readonly=True)
    return jit.compile_kernel(pack_share, (weight, panels, problem, types.int64, types.int64))


def _as_real(layout: Layout, weight: np.ndarray) -> np.ndarray:
    """Return the weight (reduced channel, filter, tap * part) of the equal real problem, contiguous."""
    if layout.weight_parts == 1:
        return (
            weight if weight.dtype == layout.dtype and weight.flags.c_contiguous else weight.astype(layout.dtype, "C")
        )
    pairs = np.ascontiguousarray(weight, np.result_type(layout.dtype, np.complex64))
    if layout.x_parts == 2:
        rotated = np.empty_like(
            pairs
        )  # what the imaginary half of a sample adds; 1j*pairs would make NaN of infinities
        rotated.real, rotated.imag = -pairs.imag, pairs.real
        pairs = np.stack([pairs, rotated], axis=1)
    return pairs.view(layout.dtype)


def pack(layout: Layout, weight: np.ndarray) -> np.ndarray:
    """Return the panels of `weight` (in_channels, filters of a group, filter_size), real or complex."""
    panels = np.empty(layout.size, layout.dtype)
    arguments = (_as_real(layout, weight).reshape(-1), panels, layout.pack_problem)
    threads.launch(_pack_kernel(layout.dtype), arguments, threads.workers(layout.size))
    return panels
