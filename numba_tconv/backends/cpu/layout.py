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
from numba_tconv.backends.cpu.staging import copy_bytes
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.tile import address, transpose
from numba_tconv.backends.cpu.turns import NEXT_ITEM, take

# The edges of a FIR tile are staged with their whole halo; a longer one goes through panels, which block the taps.
FIR_STAGE_BYTES = 1 << 22
FIR_ROWS = 12
# Of a block of filters side by side: rows of outputs, lanes.
MOST_WOVEN_ROWS, MOST_WOVEN_LANES = 32, 512
# Multiply-adds that take as long as packing one number.
PACK_WORK = 8


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
    filter_block : int
        Filters whose lanes stand side by side, branch after branch; 1 where the branches of a filter do.
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
    filter_block: int

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
    def filter_block_lanes(self) -> int:
        """Lanes of one block of filters, whole panels where they are more than one filter."""
        lanes = self.filter_block * self.filter_lanes
        return lanes if self.filter_block == 1 else -(-lanes // self.width) * self.width

    @cached_property
    def blocks(self) -> int:
        """Panels of one group."""
        return -(-(-(-self.filters // self.filter_block) * self.filter_block_lanes) // self.width)

    @cached_property
    def blocks_together(self) -> int:
        """Panels that hold all branches of their filters, where those stand side by side."""
        return 1 if self.filter_block == 1 else self.filter_block_lanes // self.width

    @cached_property
    def long_rows(self) -> int:
        """Outputs of a filter in one row, from the first on, that have all taps; those behind have one fewer."""
        return self.filter_size * self.weight_parts - (self.taps - 1) * self.filter_lanes

    @cached_property
    def is_full(self) -> bool:
        """Whether every number of the panels is one of the weights."""
        lanes = self.blocks * self.width
        return lanes == self.filters * self.filter_lanes and self.long_rows == self.filter_lanes

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
            FILTER_BLOCK: self.filter_block,
            FILTER_BLOCK_LANES: self.filter_block_lanes,
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
    reduced = channels * (x_parts if weight_parts == 2 else 1)
    longest = reduced * (host().fir_vectors(rows) * lanes + (taps - 1) * input_step) * dtype.itemsize
    is_few = filters * rows < (2 * lanes if rows > 1 else lanes)
    is_fir = rows <= FIR_ROWS and is_few and longest <= FIR_STAGE_BYTES
    filter_block, width = (1, rows) if is_fir else _panel_shape(filters, rows, filter_size * weight_parts, lanes)
    return Layout(
        dtype, groups, channels, filters, x_parts, weight_parts, filter_size, branches, taps, input_step, is_fir,
        width, filter_block,
    )  # fmt: skip


def _panel_shape(filters: int, rows: int, filter_size: int, lanes: int) -> tuple[int, int]:
    """Return how many filters stand side by side, and the width of the panels: what multiplies least in vain.

    Side by side, filters waste no lane on the branches that have one tap fewer, and are stored by transposing square
    tiles. Filters too few for that, or with more branches than make a block of handy size, stand one behind the other.
    """
    if filters < lanes // 2 or rows > MOST_WOVEN_ROWS:
        choices = [1]
    else:
        choices = sorted({-(-filters // n) for n in range(1, filters // (lanes // 2) + 1)})
        choices = [choice for choice in choices if choice * rows <= MOST_WOVEN_LANES] or choices[:1]

    def cost(choice: tuple[int, int]) -> tuple[float, bool, int]:
        filter_block, width = choice
        if filter_block == 1:
            multiplied = -(-filters * rows // width) * width
        else:
            taps = (-(-(filter_size - lane // filter_block) // rows) for lane in range(0, filter_block * rows, width))
            multiplied = -(-filters // filter_block) * width * sum(max(0, count) for count in taps)
        # A single vector loads each scalar for one multiplication instead of two: 5 % on Zen 4.
        return multiplied * (1.05 if width == lanes else 1.0), filter_block % lanes != 0, filter_block

    return min(((choice, width) for choice in choices for width in (lanes, 2 * lanes)), key=cost)


(
    GROUPS, BLOCKS, FILTERS, REDUCED, FILTER_SIZE, FILTER_LANES, TAPS, WIDTH, FILTER_BLOCK, FILTER_BLOCK_LANES,
) = range(10)  # fmt: skip


@jit.once
def _copy_kernel(dtype):
    """Return the kernel that packs lanes along branches: runs of taps are copied. Arguments as of `_weave_kernel`."""
    itemsize = dtype.itemsize

    def pack_share(weight, panels, scratch, problem, turns, worker):
        filters, reduced, width = problem[FILTERS], problem[REDUCED], problem[WIDTH]
        size, rows, taps = problem[FILTER_SIZE], problem[FILTER_LANES], problem[TAPS]
        count = problem[GROUPS] * reduced
        # Channel by channel, all panels of each: weights are read in one run. Panel by panel, every read of a layer
        # with large strides came from another page: 14.9 ms instead of 11.0 for 2049 -> 1 (4096, 1024).
        index = take(turns, NEXT_ITEM)
        while index < count:
            group, channel = divmod(index, reduced)
            for block in range(problem[BLOCKS]):
                panel = ((group * problem[BLOCKS] + block) * reduced + channel) * taps * width
                lane = 0
                while lane < width:
                    f, row = divmod(block * width + lane, rows)
                    run = min(width - lane, rows - row)
                    for j in range(taps if f < filters else 0):
                        tap = row + rows * j
                        source = (index * filters + f) * size + tap
                        target = panel + j * width + lane
                        copy_bytes(
                            address(panels) + target * itemsize, address(weight) + source * itemsize,
                            max(0, min(run, size - tap)) * itemsize,
                        )  # fmt: skip
                    lane += run
            index = take(turns, NEXT_ITEM)

    return jit.compile_kernel(pack_share, _pack_arguments(dtype))


@jit.once
def _weave_kernel(dtype, width):
    """Return the kernel that packs lanes along filters: `(weight, panels, scratch, problem, turns, worker)`.

    weight is flat: (channel, filter, tap * part). Square tiles of it are transposed in registers.
    """
    itemsize, lanes = dtype.itemsize, host().lanes(dtype.itemsize)

    def pack_share(weight, panels, scratch, problem, turns, worker):
        filters, reduced, blocks = problem[FILTERS], problem[REDUCED], problem[BLOCKS]
        size, rows, taps = problem[FILTER_SIZE], problem[FILTER_LANES], problem[TAPS]
        filter_block, filter_block_lanes = problem[FILTER_BLOCK], problem[FILTER_BLOCK_LANES]
        tile = address(scratch) + worker * lanes * lanes * itemsize
        count = problem[GROUPS] * reduced
        index = take(turns, NEXT_ITEM)
        while index < count:
            group, channel = divmod(index, reduced)
            for block in range(-(-filters // filter_block)):
                here = min(filter_block, filters - block * filter_block)
                for aside in range(0, here, lanes):
                    source = (index * filters + block * filter_block + aside) * size
                    height = min(lanes, here - aside)
                    is_tile = filter_block % lanes == 0 and height == lanes
                    # The last tile would read beyond the weights where a filter is no multiple of a vector.
                    is_tile &= source + lanes * size + lanes <= weight.size
                    for first in range(0, size, lanes):
                        if is_tile:
                            transpose(address(weight) + (source + first) * itemsize, size, tile, scratch, lanes)
                        j, row = divmod(first, rows)
                        for tap in range(first, min(size, first + lanes)):
                            for i in range(1 if is_tile else height):
                                lane = block * filter_block_lanes + row * filter_block + aside + i
                                panel = (group * blocks + lane // width) * reduced + channel
                                at = (panel * taps + j) * width + lane % width
                                if is_tile:
                                    vector = tile + (tap - first) * lanes * itemsize
                                    copy_bytes(address(panels) + at * itemsize, vector, lanes * itemsize)
                                else:
                                    panels[at] = weight[source + i * size + tap]
                            row += 1
                            if row == rows:
                                j, row = j + 1, 0
            index = take(turns, NEXT_ITEM)

    return jit.compile_kernel(pack_share, _pack_arguments(dtype))


def _pack_arguments(dtype: np.dtype) -> tuple:
    """Return the types of a packing kernel's arguments."""
    weight, flat = jit.array(dtype, 1, readonly=True), jit.array(dtype, 1)
    return weight, flat, flat, jit.array(np.int64, 1, readonly=True), jit.array(np.int64, 1), types.int64


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
    # Taps and filters that do not exist are zero.
    panels = (np.empty if layout.is_full else np.zeros)(layout.size, layout.dtype)
    n_workers = threads.workers(layout.size * PACK_WORK)
    if layout.filter_block == 1:
        kernel, scratch = _copy_kernel(layout.dtype), panels
    else:
        kernel = _weave_kernel(layout.dtype, layout.width)
        scratch = np.empty(n_workers * host().lanes(layout.dtype.itemsize) ** 2, layout.dtype)
    threads.launch(kernel, (_as_real(layout, weight).reshape(-1), panels, scratch, layout.pack_problem), n_workers)
    return panels
