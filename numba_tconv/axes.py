"""Axes of arrays of any shape: one that a caller names, slices along it, and folding to three.

Here `axis` is negative, so that axes may come before it without moving it.
"""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def as_axis(shape: tuple[int, ...], axis: int) -> int:
    """Return an axis of x counted from the end."""
    try:
        place = axis.__index__()
    except AttributeError:
        raise TypeError(f"axis must be an int; got {axis!r}") from None
    if not -len(shape) <= place < len(shape):
        raise ValueError(f"axis must be an axis of x, which has the shape {shape}; got {axis}")
    return place - len(shape) if place >= 0 else place


def along(axis: int, start: int, stop: int) -> tuple[Any, ...]:
    """Return the index of `start:stop` along an axis."""
    return (..., slice(start, stop), *(slice(None),) * (-axis - 1))


def resized(shape: tuple[Any, ...], axis: int, size: Any) -> tuple[Any, ...]:
    """Return a shape, or the chunks of a lazy array, with another size along an axis."""
    place = len(shape) + axis
    return (*shape[:place], size, *shape[place + 1 :])


def folded(array: Array, axis: int) -> Array:
    """Return (array, time, signal): the axes before time in one, and those behind it; a copy where they do not fold."""
    if array.ndim == 2:  # in a third of the time
        return array[None] if axis == -2 else array[..., None]
    if array.ndim == 1:
        return array[None, :, None]
    place = array.ndim + axis
    shape = array.shape
    return array.reshape(prod(shape[:place]), shape[place], prod(shape[place + 1 :]))


def unfold(target: Array, out: Array) -> None:
    """Copy what was computed back to `out` where folding it has made a copy."""
    if not np.may_share_memory(target, out):
        out[...] = target.reshape(out.shape)
