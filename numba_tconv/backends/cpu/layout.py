"""How the weights of one operator are cut into panels; nothing here depends on the length of a signal.

Complex numbers become real ones here, without waste. Real weights see a complex input as twice the signals, or, where
time is contiguous, as one signal of pairs. Complex weights make each filter two (real and imaginary result), and with
a complex input each channel two as well: `[yr, yi] = [[wr, -wi], [wi, wr]] [xr, xi]`.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import gcd

import numpy as np

from numba_tconv.backends.cpu.target import host

# The edges of a FIR tile are staged with their whole halo; a longer one goes through panels, which block the taps.
FIR_STAGE_BYTES = 1 << 22
FIR_ROWS = 12
# So many filters of so many channels are no matter of the FIR path.
MANY_FIR_FILTERS, MANY_FIR_CHANNELS = 4, 16
# Of a block of filters side by side: rows of outputs, lanes.
MOST_WOVEN_ROWS, MOST_WOVEN_LANES = 32, 512
# With more branches, and no more than one in so many of them with a tap, the others are left out, and outputs stored
# number by number among the bias: 223 -> 3 (5, 256) took 1.9 ms with zeros for them and 0.2 so. With a quarter of the
# branches, storing took as long as multiplying by zero.
SPARSE = 8

# Of the direct path: rows of a tile, where filters are taken together; terms of a sum; weights; numbers in the halos of
# all channels. With so few terms the panel path stores sums for longer than it adds them up: 4 -> 128 (4, 2) with
# 24,000 samples ran at 19 % of the FMA peak there and does at 49 here, 48 -> 24 (4, 2) at 75 and 83 on one thread.
# From 256 terms on both were equal or panels ahead. Where a branch lacks a tap, it is multiplied by zero: up to so few
# terms that is still 1.1 to 3 times as fast.
DIRECT_ROWS, MOST_DIRECT_TERMS, MOST_DIRECT_WEIGHTS, MOST_DIRECT_HALOS = 4, 192, 1 << 15, 1 << 14
FEW_DIRECT_TERMS = 32


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
        Of `Geometry`: taps of the filter, branches, taps of the longest branch, input samples between them. Of many
        branches, most of them without a tap, those that have one.
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
    def is_packed_as_it_is(self) -> bool:
        """Whether the FIR path takes real weights in the caller's order."""
        is_filled = self.filter_size == self.taps * self.width
        return self.is_fir and is_filled and 1 in (self.filters, self.channels) and self.weight_parts == 1

    @cached_property
    def direct_filters(self) -> int:
        """Filters of a tile of the direct path, which serves long signals; 0 where it never does.

        A tile with less than three rows loads more than it multiplies.
        """
        terms, rows = self.reduced_channels * self.taps, self.filter_lanes
        halos = self.reduced_channels * (self.taps - 1) * self.input_step
        filters = max(1, DIRECT_ROWS // rows)
        is_small = terms <= MOST_DIRECT_TERMS and terms * self.filters * rows <= MOST_DIRECT_WEIGHTS
        is_even = self.filters % filters == 0 and (self.long_rows == rows or terms <= FEW_DIRECT_TERMS)
        is_direct = is_small and is_even and halos <= MOST_DIRECT_HALOS and not self.is_fir
        return filters if is_direct and 3 <= filters * rows <= FIR_ROWS else 0

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
    is_sparse = branches > MOST_WOVEN_ROWS and filter_size <= branches // SPARSE
    branches = filter_size if is_sparse else branches
    taps = -(-filter_size // branches)
    rows = branches * weight_parts
    lanes = host().lanes(dtype.itemsize)
    reduced = channels * (x_parts if weight_parts == 2 else 1)
    longest = reduced * (host().fir_vectors(rows) * lanes + (taps - 1) * input_step) * dtype.itemsize
    # A filter with one row loads a vector for each multiply-add: 64 -> 12 (3, 1) took 1.5 to 3.9 times as long as by
    # panels and the direct path, with 8 filters 1.1 to 2.8 times. And with many channels, every filter reads them all:
    # of 600 random layers, those with four filters and more took 1.5 times as long, 194 -> 11 (16, 2) with 16 x 59
    # samples three times. A single filter has no others to stand beside: 1 -> 1 (161, 8) in float64 ran at 55 % of the
    # FMA peak of a Zen 3 in panels, and does at 74 here.
    is_few = filters == 1 or filters * rows < (2 * lanes if rows > 1 else lanes // 2)
    is_few = is_few and (filters < MANY_FIR_FILTERS or reduced < MANY_FIR_CHANNELS)
    is_fir = not is_sparse and rows <= FIR_ROWS and is_few and longest <= FIR_STAGE_BYTES
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
        choices = {1}
    else:
        choices = {-(-filters // n) for n in range(1, filters // (lanes // 2) + 1)}
        choices = {choice for choice in choices if choice * rows <= MOST_WOVEN_LANES}

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
