"""Packing: from the caller's weights to the panels of a `Layout`.

Done once by a plan and in every call of `conv_transpose1d`, so it runs at the speed of memory: square tiles are
transposed in registers where filters stand side by side, runs of taps copied where they stand one behind the other.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import types

from numba_tconv.backends.cpu import jit, threads
from numba_tconv.backends.cpu.layout import Layout
from numba_tconv.backends.cpu.moves import transpose
from numba_tconv.backends.cpu.staging import copy_bytes
from numba_tconv.backends.cpu.target import host
from numba_tconv.backends.cpu.turns import take
from numba_tconv.backends.cpu.vectors import address

# Multiply-adds that count as packing one number: two threads begin to win at 65 thousand numbers.
PACK_WORK = 8
# Weights of an item. Channel by channel, two threads wrote neighbouring lines and were slower than one.
ITEM_SIZE = 1 << 14

(
    GROUPS, BLOCKS, FILTERS, REDUCED, FILTER_SIZE, FILTER_LANES, TAPS, WIDTH, FILTER_BLOCK, FILTER_BLOCK_LANES,
    CHANNELS_OF_ITEM,
) = range(11)  # fmt: skip


@jit.once
def _copy_kernel(dtype):
    """Return the kernel that packs lanes along branches: runs of taps are copied.

    Arguments as of `_weave_kernel`; the scratch is not used.
    """
    itemsize = dtype.itemsize

    def pack_share(weight, panels, scratch, problem, turns, worker):
        filters, reduced, width = problem[FILTERS], problem[REDUCED], problem[WIDTH]
        size, rows, taps = problem[FILTER_SIZE], problem[FILTER_LANES], problem[TAPS]
        count, channels = problem[GROUPS] * reduced, problem[CHANNELS_OF_ITEM]
        # Channel by channel, all panels of each: weights are read in one run. Panel by panel, every read of a layer
        # with large strides came from another page: 14.9 ms instead of 11.0 for 2049 -> 1 (4096, 1024).
        item = take(turns)
        while item * channels < count:
            for index in range(item * channels, min(count, (item + 1) * channels)):
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
            item = take(turns)

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
        count, channels = problem[GROUPS] * reduced, problem[CHANNELS_OF_ITEM]
        item = take(turns)
        while item * channels < count:
            for index in range(item * channels, min(count, (item + 1) * channels)):
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
                                transpose(
                                    address(weight) + (source + first) * itemsize, size, tile, lanes, scratch, lanes
                                )
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
            item = take(turns)

    return jit.compile_kernel(pack_share, _pack_arguments(dtype))


def _pack_arguments(dtype: np.dtype) -> tuple:
    """Return the types of a packing kernel's arguments."""
    weight, flat = jit.array(dtype, 1, readonly=True), jit.array(dtype, 1)
    return weight, flat, flat, jit.array(np.int64, 1, readonly=True), jit.array(np.int64, 1), types.int64


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
        CHANNELS_OF_ITEM: -(-ITEM_SIZE // (layout.filters * layout.filter_size * layout.weight_parts)),
    }
    return np.array([values[k] for k in range(len(values))], np.int64)


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
    size, filled = layout.filter_size * layout.weight_parts, layout.taps * layout.width
    if layout.channels == layout.weight_parts == 1:
        panels = np.zeros((layout.groups * layout.filters, filled), layout.dtype)
        panels[:, :size] = weight.reshape(-1, size)
    else:
        panels = np.zeros((layout.groups, layout.filters, layout.reduced_channels, filled), layout.dtype)
        panels[..., :size] = _as_real(layout, weight).reshape(layout.groups, -1, layout.filters, size).swapaxes(1, 2)
    return panels.reshape(-1)


def pack(layout: Layout, weight: np.ndarray) -> np.ndarray:
    """Return the panels of `weight` (in_channels, filters of a group, filter_size), real or complex."""
    if layout.is_fir:
        return _pack_filters(layout, weight)
    # Taps and filters that do not exist are zero.
    panels = (np.empty if layout.is_full else np.zeros)(layout.size, layout.dtype)
    n_workers = threads.workers(layout.size * PACK_WORK)
    if layout.filter_block == 1:
        kernel, scratch = _copy_kernel(layout.dtype), panels
    else:
        kernel = _weave_kernel(layout.dtype, layout.width)
        scratch = np.empty(n_workers * host().lanes(layout.dtype.itemsize) ** 2, layout.dtype)
    threads.launch(kernel, (_as_real(layout, weight).reshape(-1), panels, scratch, _problem(layout)), n_workers)
    return panels


class Taps(NamedTuple):
    """The taps of a change of rate, `numbers[bank][set][phase][tap][part]`, flat.

    Complex taps are two sets, one for the real half of the output and one for the imaginary; with a complex input each
    tap then has two parts, the imaginary first.
    """

    numbers: np.ndarray
    banks: int
    sets: int
    reduced: int


def pack_phases(h: np.ndarray, up: int, dtype: np.dtype, x_parts: int) -> Taps:
    """Return the filters `h` (bank, tap) by phases of `up`, for inputs of one or two parts; computed in `dtype`."""
    banks, size = h.shape
    if h.dtype.kind != "c":
        parts = h[:, None, None]
    elif x_parts == 1:
        parts = np.stack([h.real, h.imag], axis=1)[:, :, None]
    else:
        parts = np.stack([np.stack([-h.imag, h.real], axis=1), np.stack([h.real, h.imag], axis=1)], axis=1)
    sets, reduced = parts.shape[1:3]
    # With more phases than taps, those without a tap take no room.
    phases, taps = min(up, size), -(-size // up)
    filled = np.zeros((banks, sets, reduced, taps * phases), dtype)
    filled[..., :size] = parts
    numbers = filled.reshape(banks, sets, reduced, taps, phases).transpose(0, 1, 4, 3, 2)
    return Taps(np.ascontiguousarray(numbers).reshape(-1), banks, sets, reduced)
