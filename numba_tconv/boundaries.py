"""How a signal goes on beyond its ends: SciPy's nine boundary modes of `upfirdn`.

Here belongs the continuation and nothing that filters it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_tconv.axes import along, folded, resized
from numba_tconv.backends import backend

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
    result = np.empty(resized(x.shape, axis, stop - start), dtype)
    if mode == "constant":
        result[...] = cval
        first, last = max(0, start), min(length, stop)
        if first < last:
            result[along(axis, first - start, last - start)] = x[along(axis, first, last)]
    else:
        signals = folded(x.astype(dtype, copy=False), axis)
        backend("cpu.ends").extend(signals, folded(result, axis), start, MODES.index(mode), whole_length or length)
    return result
