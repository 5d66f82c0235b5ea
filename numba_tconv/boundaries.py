"""How a signal goes on beyond its ends: SciPy's nine boundary modes of `upfirdn`.

Here belongs the continuation and nothing that filters it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

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

    def at(places: Any) -> Array:
        samples: Array = np.take(x, places, axis)
        return samples.astype(dtype, copy=False)

    places = np.arange(start, stop)
    inside = np.minimum(np.maximum(places, 0), length - 1)
    if mode == "wrap":
        return at(places % length)
    if mode == "edge" or (length == 1 and mode in ("smooth", "line", "reflect", "antireflect")):
        return at(inside)
    i = places.reshape(-1, *(1,) * (-axis - 1))  # against x, whose axes behind time come after it
    if mode == "constant":
        return np.where((i >= 0) & (i < length), at(inside), dtype.type(cval))
    if mode in ("smooth", "line"):
        first, last = at([0]), at([-1])
        mean = (last - first) / ((whole_length or length) - 1)
        before, after = (at([1]) - first, last - at([-2])) if mode == "smooth" else (mean, mean)
        line: Array = at(inside) + np.minimum(i, 0) * before + np.maximum(i - length + 1, 0) * after
        return line.astype(dtype, copy=False)
    # Folded back and forth; those with their ends once turn about a sample, the others between two.
    ends = 0 if mode.endswith("symmetric") else 1
    turns, k = np.divmod(places, 2 * (length - ends))
    folded = at(np.where(k >= length, 2 * length - 1 - ends - k, k))
    if mode in ("symmetric", "reflect"):
        return folded
    turns, is_turned = turns.reshape(i.shape), (k >= length).reshape(i.shape)
    if mode == "antisymmetric":
        return np.where(is_turned, -folded, folded)
    first, last = at([0]), at([-1])
    turned: Array = np.where(is_turned, 2 * last - folded, folded) + 2 * turns * (last - first)
    return turned.astype(dtype, copy=False)
