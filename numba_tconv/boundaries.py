"""How a signal goes on beyond its ends: SciPy's nine boundary modes of `upfirdn`.

Here belongs the continuation and nothing that filters it.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_tconv.axes import along

Array = NDArray[Any]

MODES = (
    "constant", "wrap", "edge", "smooth", "symmetric", "reflect", "antisymmetric", "antireflect", "line",
)  # fmt: skip


def extended(
    x: Array,
    axis: int,
    start: int,
    stop: int,
    dtype: np.dtype[Any],
    mode: str,
    cval: complex,
    whole_length: int | None = None,
) -> Array:
    """Return the samples `start` to `stop` of `x` along an axis, continued beyond both ends without limit.

    Parameters
    ----------
    x : ndarray
        Signals.
    axis : int
        The axis of time, negative.
    start, stop : int
        First sample and the one behind the last; negative before the signal.
    dtype : np.dtype
        Float or complex dtype that the continuation is computed in.
    mode : str
        One of MODES, with SciPy's meanings::

            constant       k k k | a b c d | k k k      k is `cval`
            edge           a a a | a b c d | d d d
            wrap           b c d | a b c d | a b c
            symmetric      c b a | a b c d | d c b      antisymmetric changes the sign
            reflect        d c b | a b c d | c b a      antireflect turns about the last sample
            smooth, line   straight on: through the two samples at an end, through the first and the last
    cval : number
        Of 'constant'.
    whole_length : int, optional
        Of a signal of which `x` has only so many samples of both ends that `start` and `stop` do not go on beyond them
        by more than half of those.

    Returns
    -------
    ndarray
        A copy, with ``stop - start`` samples along the axis. A single sample has no slope and nothing to be reflected
        at: there these modes are 'edge'.
    """
    length = x.shape[axis]
    if length == 1 and mode in ("smooth", "line", "reflect", "antireflect"):
        mode = "edge"
    result: Array = np.take(x, _indices(mode, start, stop, length), axis).astype(dtype, copy=False)
    if mode in ("wrap", "edge", "symmetric", "reflect"):
        return result
    # Made-up samples alone are changed: a NaN at one end, times zero, would be one in every sample.
    whole_length = whole_length or length
    if stop > length:
        first = max(start, length)
        _change(result[along(axis, first - start, stop - start)], x, axis, first - length, mode, cval, whole_length)
    if start < 0:
        last = min(stop, 0)
        before = _reversed(result[along(axis, 0, last - start)], axis)
        _change(before, _reversed(x, axis), axis, -last, mode, cval, whole_length)
    return result


def _reversed(x: Array, axis: int) -> Array:
    """Return a view that runs backwards along an axis."""
    index: tuple[Any, ...] = (..., slice(None, None, -1), *(slice(None),) * (-axis - 1))
    result: Array = x[index]
    return result


# Looked up for the next signal like this one: worked out anew, indices took a call for 200 samples 6 us of 17. A few
# are kept, for they may be as many as a filter's taps.
@lru_cache(maxsize=8)
def _indices(mode: str, start: int, stop: int, length: int) -> Array:
    """Return which samples the continued ones are, or are made from: for most modes the nearest ones."""
    places = np.arange(start, stop)
    if mode == "wrap":
        return places % length
    if mode.endswith(("symmetric", "reflect")):
        k = places % (2 * (length - _ends(mode)))
        return np.where(k >= length, 2 * length - 1 - _ends(mode) - k, k)
    return np.clip(places, 0, length - 1)


def _ends(mode: str) -> int:
    """Return 1 where a signal that goes back and forth turns about its last sample, 0 where it turns behind it."""
    return 0 if mode.endswith("symmetric") else 1


@lru_cache(maxsize=8)
def _turns(mode: str, start: int, stop: int, length: int) -> tuple[Array, Array]:
    """Return how often a signal has gone back and forth before places behind its end, and whether it runs backwards."""
    turns, k = np.divmod(np.arange(length + start, length + stop), 2 * (length - _ends(mode)))
    return turns, k >= length


def _change(made_up: Array, x: Array, axis: int, start: int, mode: str, cval: complex, whole_length: int) -> None:
    """Change samples that were made from x to what stands from place `start` behind its end on."""
    if mode == "constant":
        made_up[...] = cval
        return
    length, stop = x.shape[axis], start + made_up.shape[axis]
    shape = (-1, *(1,) * (-axis - 1))  # against x, whose axes behind time come after it

    def at(k: int) -> Array:
        sample: Array = x[along(axis, k, k + 1)].astype(made_up.dtype, copy=False)
        return sample

    last = at(length - 1)
    if mode in ("smooth", "line"):
        slope = last - at(length - 2) if mode == "smooth" else (last - at(0)) / (whole_length - 1)
        made_up += np.arange(start + 1, stop + 1).reshape(shape) * slope
        return
    turns, is_turned = (array.reshape(shape) for array in _turns(mode, start, stop, length))
    if mode == "antisymmetric":
        np.negative(made_up, out=made_up, where=is_turned)
        return
    np.subtract(2 * last, made_up, out=made_up, where=is_turned)
    if turns[-1] > 0:
        made_up += np.where(turns > 0, 2 * turns * (last - at(0)), 0)
