"""Signals that come in blocks: `Stream` keeps the samples that later outputs still need.

Here belong counting, the kept samples and the state. What a block is filtered with is an `Operator`'s business: a
plan's in `functional.py`, a filter's in `resampling.py`.
"""

from math import prod
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_tconv.arguments import as_array
from numba_tconv.axes import along, resized
from numba_tconv.outputs import new_or_checked

Array = NDArray[Any]

# Numbers of the kept samples and the next ones, in a buffer that stays in the cache: longer blocks go through in parts.
BUFFER_SIZE = 1 << 16
SHORTEST_PART = 1 << 10


class Operator(Protocol):
    """What a stream computes, for signals whose time is the negative `axis`.

    `halo` samples before a block are all that the outputs not given before it need.
    """

    axis: int
    halo: int

    def final(self, received: int) -> int:
        """Return how many outputs no sample behind the first `received` ones can change."""

    def total(self, received: int) -> int:
        """Return how many outputs a signal of `received` samples has."""

    def check(self, x: Array) -> None:
        """Refuse blocks of a shape that cannot be computed."""

    def result(self, x: Array, count: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Return the shape and dtype of `count` outputs for blocks like x."""

    def write(self, x: Array, first: int, begin: int, out: Array) -> None:
        """Write the outputs from `begin` on to `out`; x begins with sample `first`, and is zero beyond its ends."""


class State(NamedTuple):
    """Where a stream stands: everything that its next outputs depend on.

    Attributes
    ----------
    kept : ndarray or None
        The last samples; None before the first block.
    received, given : int
        Samples received and outputs given so far.
    """

    kept: Array | None
    received: int
    given: int


class Stream:
    """A signal in blocks: ``y = numpy.concatenate([stream.process(x) for x in blocks] + [stream.flush()], axis)``.

    That has the bits of the result for the whole signal at once, however it was cut; blocks may be empty. A block's
    result holds all outputs that later samples cannot change. The first block decides on the shape of all others but
    for their lengths, and on the dtype. Made by `ConvTranspose1d.stream` and as `Upsampler`. Not for use by several
    threads at once.

    Parameters
    ----------
    operator : Operator
        What is computed.
    """

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self.reset()

    def reset(self) -> None:
        """Forget all blocks: the next one begins a new signal."""
        self._buffer: Array | None = None
        self._end = self._received = self._given = 0

    def process(self, block: ArrayLike, out: Array | None = None) -> Array:
        """Return the outputs that are complete with this block.

        Parameters
        ----------
        block : array_like
            The next samples, any number of them.
        out : ndarray, optional
            Where to write the result; of its exact shape and dtype.

        Returns
        -------
        ndarray
            New outputs along the axis of time, often none for a short block.

        Raises
        ------
        TypeError, ValueError
            Naming the argument, the rule and what was given. The stream is as before then.
        """
        x = self._check(as_array("block", block))
        axis = self._operator.axis
        length = x.shape[axis]
        result = self._allocate(x, self._operator.final(self._received + length) - self._given, out)
        buffer = self._open(x)
        halo, room = self._operator.halo, buffer.shape[axis] - 2 * self._operator.halo
        done = 0
        for start in range(0, length, room):
            part = min(room, length - start)
            if self._end + part > buffer.shape[axis]:
                buffer[along(axis, 0, halo)] = buffer[along(axis, self._end - halo, self._end)]
                self._end = halo
            buffer[along(axis, self._end, self._end + part)] = x[along(axis, start, start + part)]
            self._end += part
            self._received += part
            done += self._write(
                part, self._operator.final(self._received), result[along(axis, done, result.shape[axis])]
            )
        return result

    def flush(self, out: Array | None = None) -> Array:
        """Return the outputs behind those of the last block, as if the signal ended there, and begin a new one.

        Parameters
        ----------
        out : ndarray, optional
            Where to write the result; of its exact shape and dtype.

        Returns
        -------
        ndarray
            The tail of the signal; no samples where there was no block.
        """
        if self._buffer is None:
            return np.empty(0, np.float32)
        total = self._operator.total(self._received)
        result = self._allocate(self._buffer, total - self._given, out)
        self._write(0, total, result)
        self.reset()
        return result

    @property
    def state(self) -> State:
        """Where the stream stands; may be kept, pickled, and set on another stream of the same filter."""
        kept = None
        if self._buffer is not None:
            kept = self._buffer[along(self._operator.axis, self._end - self._operator.halo, self._end)].copy()
        return State(kept, self._received, self._given)

    @state.setter
    def state(self, state: State) -> None:
        """Go on from where another stream stood."""
        kept, received, given = state
        if kept is not None:
            self._operator.check(kept)
        if kept is not None and kept.shape[self._operator.axis] != self._operator.halo:
            raise ValueError(
                f"state must be of a stream that keeps {self._operator.halo} samples; got the shape {kept.shape}"
            )
        self.reset()
        if kept is not None:
            self._open(kept)[along(self._operator.axis, 0, self._operator.halo)] = kept
        self._received, self._given = received, given

    def _check(self, x: Array) -> Array:
        """Return a block that fits the blocks before it."""
        self._operator.check(x)
        if self._buffer is not None:
            axis = self._operator.axis
            expected = resized(self._buffer.shape, axis, x.shape[axis])
            if x.shape != expected:
                raise ValueError(f"block must have the shape {expected}, as the first one; got {x.shape}")
            if not np.can_cast(x.dtype, self._buffer.dtype, "safe"):
                raise TypeError(f"block must have the dtype {self._buffer.dtype} of the first one; got {x.dtype}")
        return x

    def _allocate(self, x: Array, count: int, out: Array | None) -> Array:
        shape, dtype = self._operator.result(x, count)
        result: Array = new_or_checked(out, shape, dtype, (x,))
        return result

    def _open(self, x: Array) -> Array:
        """Return the buffer; before the first block, one whose kept samples are zeros."""
        if self._buffer is None:
            axis, halo = self._operator.axis, self._operator.halo
            signals = prod(resized(x.shape, axis, 1))
            length = 2 * halo + max(SHORTEST_PART, BUFFER_SIZE // max(1, signals))
            self._buffer = np.zeros(resized(x.shape, axis, length), x.dtype)
            self._end = halo
        return self._buffer

    def _write(self, part: int, upto: int, out: Array) -> int:
        """Write the outputs up to number `upto` from the last `part` samples and those kept; return their count."""
        count, axis = upto - self._given, self._operator.axis
        if count and self._buffer is not None:
            first = part + self._operator.halo
            samples = self._buffer[along(axis, self._end - first, self._end)]
            self._operator.write(samples, self._received - first, self._given, out[along(axis, 0, count)])
            self._given = upto
        return count
