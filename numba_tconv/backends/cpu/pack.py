"""Packing: from the caller's weights to the panels of a `Layout`.

Done once by a plan, and in every call of `conv_transpose1d`: of many samples beforehand, of fewer by the items of
`panels.py`. Square tiles are transposed in registers where filters stand side by side, runs of taps copied where they
stand one behind the other.
"""

from functools import cached_property, lru_cache

import numpy as np
from numba import literally, types

from numba_tconv.backends.cpu import jit, threads
from numba_tconv.backends.cpu.layout import Layout
from numba_tconv.backends.cpu.moves import transpose_to
from numba_tconv.backends.cpu.staging import copy_bytes, on_a_line
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.turns import take, take_first
from numba_tconv.backends.cpu.vectors import address, integers_at

# Multiply-adds that count as packing one number: two threads begin to win at 65 thousand numbers.
PACK_WORK = 8
# Weights of an item. Channel by channel, two threads wrote neighbouring lines and were slower than one. Of many weights
# sixteen channels while that leaves so many items, a few panels of each at a time: all panels of a channel lie as many
# pages apart. Channel by channel 2048 -> 1024 (8, 4) took 58 ms, and takes 17 so, 1536 -> 768 (8, 4) 29 and 7.
ITEM_SIZE = 1 << 14
ITEM_CHANNELS, FEWEST_ITEMS, LANES_AT_ONCE = 16, 32, 256

(
    GROUPS, BLOCKS, FILTERS, REDUCED, FILTER_SIZE, FILTER_LANES, TAPS, WIDTH, FILTER_BLOCK, FILTER_BLOCK_LANES,
    CHANNELS_OF_ITEM, PLACES,
) = range(12)  # fmt: skip


@jit.helper
def pack_runs(weight, panels, base, shape, index, place, block_from, block_to):
    """Pack one channel's weights for some panels, lanes along branches: runs of taps are copied.

    Channel `index` of all groups becomes channel `place` of panels that are `depth` channels deep: tap j of a lane goes
    to `base + ((lane // width * depth + place) * taps + j) * width + lane % width`. `shape` is the integers (filters,
    numbers of a filter, lanes of a filter, taps, width, depth, filters of a block, lanes of a block).
    """
    filters, size, rows, taps, width, depth, _, _ = shape
    for block in range(block_from, block_to):
        panel = base + (block * depth + place) * taps * width
        lane = 0
        while lane < width:
            f, row = divmod(block * width + lane, rows)
            run = min(width - lane, rows - row)
            for j in range(taps if f < filters else 0):
                tap = row + rows * j
                copy_bytes(
                    address(panels) + (panel + j * width + lane) * panels.itemsize,
                    address(weight) + ((index * filters + f) * size + tap) * panels.itemsize,
                    max(0, min(run, size - tap)) * panels.itemsize,
                )  # fmt: skip
            lane += run


@jit.helper
def pack_woven(weight, panels, base, shape, index, place, block_from, block_to, places, p0, lanes):
    """Pack one channel's weights for some panels, lanes along filters: square tiles, transposed in registers.

    As `pack_runs`, for panels that hold whole blocks of filters. Of a block, tap k of filter f goes to number
    `places[p0 + f*size + k]`.
    """
    filters, size, _, taps, width, depth, filter_block, filter_block_lanes = shape
    together = filter_block_lanes // width
    for block in range(block_from // together, block_to // together):
        at = base + (block * together * depth + place) * taps * width
        here = min(filter_block, filters - block * filter_block)
        for f in range(0, here, lanes):
            source = (index * filters + block * filter_block + f) * size
            height = min(lanes, here - f)
            # The last tile would read beyond the weights where a filter is no multiple of a vector.
            is_whole = filter_block % lanes == 0 and height == lanes and source + lanes * size + lanes <= weight.size
            for tap in range(0, size, lanes):
                begin, to = address(weight) + (source + tap) * panels.itemsize, address(panels) + at * panels.itemsize
                counts, p = (height, min(lanes, size - tap)), p0 + f * size + tap
                if is_whole:
                    transpose_to(begin, size, to, places, p, width, counts, True, panels, literally(lanes))
                else:
                    transpose_to(begin, size, to, places, p, width, counts, False, panels, literally(lanes))


def woven_places(layout: Layout, depth: int) -> np.ndarray:
    """Return `places` of `pack_woven` for panels that are `depth` channels deep: filter by filter, tap by tap."""
    size, rows = layout.filter_size * layout.weight_parts, layout.filter_lanes
    f, k = np.ogrid[: layout.filter_block if layout.filter_block > 1 else 0, :size]
    panel, lane = np.divmod(k % rows * layout.filter_block + f, layout.width)
    return ((panel * depth * layout.taps + k // rows) * layout.width + lane).reshape(-1)


@jit.once
def _kernel(dtype, is_woven):
    """Return the kernel `(weight, panels, problem, turns, worker)` that packs all weights.

    weight is flat: (channel, filter, tap * part). Some panels of each channel at a time: weights are read in long runs.
    Panel by panel, every read of a layer with large strides came from another page: 14.9 ms instead of 11.0 for
    2049 -> 1 (4096, 1024).
    """
    lanes = host().lanes(dtype.itemsize)

    def pack_share(weight, panels, problem, turns, worker):
        problem = integers_at(address(problem))
        reduced, blocks, channels = problem[REDUCED], problem[BLOCKS], problem[CHANNELS_OF_ITEM]
        shape = (
            problem[FILTERS], problem[FILTER_SIZE], problem[FILTER_LANES], problem[TAPS], problem[WIDTH], reduced,
            problem[FILTER_BLOCK], problem[FILTER_BLOCK_LANES],
        )  # fmt: skip
        together = problem[FILTER_BLOCK_LANES] // problem[WIDTH] if is_woven else 1
        at_once = max(1, LANES_AT_ONCE // (together * problem[WIDTH])) * together
        count, group_size = problem[GROUPS] * reduced, blocks * reduced * problem[TAPS] * problem[WIDTH]
        item = take_first(turns)
        while item * channels < count:
            for first in range(0, blocks, at_once):
                last = min(blocks, first + at_once)
                for index in range(item * channels, min(count, (item + 1) * channels)):
                    group, channel = divmod(index, reduced)
                    base = group * group_size
                    if is_woven:
                        pack_woven(weight, panels, base, shape, index, channel, first, last, problem, PLACES, lanes)
                    else:
                        pack_runs(weight, panels, base, shape, index, channel, first, last)
            item = take(turns)

    return jit.compile_kernel(pack_share, _pack_arguments(dtype))


def _pack_arguments(dtype: np.dtype) -> tuple:
    """Return the types of a packing kernel's arguments."""
    weight, flat = jit.array(dtype, 1, readonly=True), jit.array(dtype, 1)
    return weight, flat, jit.array(np.int64, 1, readonly=True), jit.array(np.int64, 1), types.int64


@lru_cache(maxsize=4096)
def _problem(layout: Layout) -> np.ndarray:
    """Return the kernels' integers."""
    values = {
        GROUPS: layout.groups,
        BLOCKS: layout.blocks,
        FILTERS: layout.filters,
        REDUCED: layout.reduced_channels,
        FILTER_SIZE: layout.filter_size * layout.weight_parts,
        FILTER_LANES: layout.filter_lanes,
        TAPS: layout.taps,
        WIDTH: layout.width,
        FILTER_BLOCK: layout.filter_block,
        FILTER_BLOCK_LANES: layout.filter_block_lanes,
        CHANNELS_OF_ITEM: max(
            -(-ITEM_SIZE // (layout.filters * layout.filter_size * layout.weight_parts)),
            min(ITEM_CHANNELS, layout.groups * layout.reduced_channels // FEWEST_ITEMS),
        ),
    }
    return np.array(
        [*(values[k] for k in range(len(values))), *woven_places(layout, layout.reduced_channels)], np.int64
    )


def flat_real(layout: Layout, weight: np.ndarray) -> np.ndarray:
    """Return the weight of the equal real problem as kernels take it, flat."""
    return _as_real(layout, weight).reshape(-1)


def _as_real(layout: Layout, weight: np.ndarray) -> np.ndarray:
    """Return the weight (reduced channel, filter, tap * part) of the equal real problem, contiguous."""
    if layout.weight_parts == 1:
        return np.ascontiguousarray(weight, layout.dtype)
    pairs = np.ascontiguousarray(weight, np.result_type(layout.dtype, np.complex64))
    if layout.x_parts == 2:
        # What the imaginary half of a sample adds; 1j*pairs would make NaN of infinities.
        rotated = np.empty_like(pairs)
        rotated.real, rotated.imag = -pairs.imag, pairs.real
        pairs = np.stack([pairs, rotated], axis=1)
    return pairs.view(layout.dtype)


def _pack_filters(layout: Layout, weight: np.ndarray) -> np.ndarray:
    """Return the filters one behind the other, each filled up to whole rows: FIR panels, a matter of microseconds."""
    if layout.is_packed_as_it_is:
        return flat_real(layout, weight)
    size, filled = layout.filter_size * layout.weight_parts, layout.taps * layout.width
    if weight.size == size and layout.weight_parts == 1:  # one filter of small calls: in half the time
        panels = np.zeros(filled, layout.dtype)
        panels[:size] = weight.ravel()
        return panels
    if layout.channels == layout.weight_parts == 1:
        panels = np.zeros((layout.groups * layout.filters, filled), layout.dtype)
        panels[:, :size] = weight.reshape(-1, size)
    else:
        panels = np.zeros((layout.groups, layout.filters, layout.reduced_channels, filled), layout.dtype)
        panels[..., :size] = _as_real(layout, weight).reshape(layout.groups, -1, layout.filters, size).swapaxes(1, 2)
    if layout.channels == 1 and layout.reduced_channels == 2:  # tap by tap, the imaginary half first
        halves = panels.reshape(layout.groups * layout.filters, 2, layout.taps, layout.width)
        panels = halves[:, ::-1].swapaxes(1, 2)
    return panels.reshape(-1)


def pack(layout: Layout, weight: np.ndarray) -> np.ndarray:
    """Return the panels of `weight` (in_channels, filters of a group, filter_size), real or complex."""
    if layout.is_fir:
        return _pack_filters(layout, weight)
    # Taps and filters that do not exist are zero.
    panels = on_a_line(layout.size, layout.dtype, np.empty if layout.is_full else np.zeros)
    n_workers = threads.workers(layout.size * PACK_WORK)
    kernel = _kernel(layout.dtype, layout.filter_block > 1)
    threads.launch(kernel, (flat_real(layout, weight), panels, _problem(layout)), n_workers)
    return panels


class Packed:
    """The weights of a plan as the paths take them; kept, so they must not change.

    Where the direct path serves long signals, panels wait for the first short one: it may never come.
    """

    def __init__(self, layout: Layout, weight: np.ndarray) -> None:
        self._layout, self._weight = layout, weight
        if not layout.direct_filters:
            self.panels  # noqa: B018 packed now, not in the first call

    @cached_property
    def panels(self) -> np.ndarray:
        """What `pack` returns."""
        return pack(self._layout, self._weight)

    @cached_property
    def flat(self) -> np.ndarray:
        """What `flat_real` returns."""
        return flat_real(self._layout, self._weight)


def pack_phases(h: np.ndarray, up: int, dtype: np.dtype, x_parts: int) -> np.ndarray:
    """Return the filters `h` (bank, tap) by phases of `up`: `[bank][phase][tap][part][set]`, flat, in `dtype`.

    Complex taps are two sets, one for the real half of the output and one for the imaginary; for inputs of two parts
    each tap then has two parts, the imaginary first.
    """
    banks, size = h.shape
    # With more phases than taps, those without a tap take no room.
    phases, taps = min(up, size), -(-size // up)
    if h.dtype.kind != "c":
        filled = np.zeros((banks, taps * phases), dtype)
        filled[:, :size] = h
        return filled.reshape(banks, taps, phases).swapaxes(1, 2).reshape(-1)
    filled = np.zeros((banks, taps * phases, x_parts, 2), dtype)
    filled[:, :size, -1, 0], filled[:, :size, -1, 1] = h.real, h.imag
    if x_parts == 2:
        filled[:, :size, 0, 0], filled[:, :size, 0, 1] = -h.imag, h.real
    return filled.reshape(banks, taps, phases, x_parts, 2).swapaxes(1, 2).reshape(-1)
