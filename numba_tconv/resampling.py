"""SciPy's signal face: `upfirdn` and `resample_poly`, drop-in.

Here belong SciPy's signatures, checks and filter design; axes, ends and methods are `polyphase.py`'s business.
"""

from functools import lru_cache
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_tconv.arguments import (
    as_array,
    check_one_place,
    check_stream,
    is_lazy,
    looked_up,
)
from numba_tconv.axes import as_axis
from numba_tconv.backends import DEFAULT, FEWEST_PRODUCTS, Work, check_device, serves_on_gpu
from numba_tconv.boundaries import MODES
from numba_tconv.device_array import is_on_gpu
from numba_tconv.geometry import as_integer, rate_length
from numba_tconv.gpu import check_on_gpu, of, owner, result_like, work
from numba_tconv.lazy import Run, bank, continued, filtered
from numba_tconv.outputs import check_no_out, new_or_checked
from numba_tconv.overlap_save import fft_is_faster
from numba_tconv.polyphase import Polyphase, result_dtype, result_shape
from numba_tconv.streaming import Stream

Array = NDArray[Any]

METHODS = ("auto", "direct", "fft")
BACKGROUNDS: dict[str, Any] = {"mean": np.mean, "median": np.median, "minimum": np.min, "maximum": np.max}
# `resample_poly` designs 20 taps for each unit of the larger rate: beyond this one, gigabytes.
HIGHEST_RATE = 1 << 20
# Filters up to this size are recognised by their bytes, and packed once for many small calls.
MOST_KEPT_TAPS = 1 << 14


def upfirdn(
    h: ArrayLike,
    x: ArrayLike,
    up: int = 1,
    down: int = 1,
    axis: int = -1,
    mode: str = "constant",
    cval: complex = 0,
    *,
    out: Any = None,
    method: str = "auto",
    device: str = "auto",
    stream: Any = None,
) -> Any:
    r"""Upsample, filter with a FIR and downsample: `scipy.signal.upfirdn`, faster.

    Parameters
    ----------
    h : array_like, (taps,) or (..., taps)
        The filter. With more axes it is a bank: those before the taps broadcast against the axes of `x` without
        `axis`, as NumPy broadcasts. So (channels, taps) has a filter for each channel of a signal (channels, time), and
        (filters, taps) makes (filters, time) of a signal (time,), or (filters, 1, taps) makes (filters, channels,
        time) of one (channels, time).
    x : array_like
        Signals of any shape and strides, bool, integer, float16, float32, float64, complex64 or complex128.
    up, down : int
        Zeros are inserted to have `up` samples for each, and every `down`-th output is kept; what is not kept is not
        computed.
    axis : int
        The axis of time in `x`.
    mode : {'constant', 'wrap', 'edge', 'smooth', 'symmetric', 'reflect', 'antisymmetric', 'antireflect', 'line'}
        How the signal goes on beyond its ends.
    cval : number
        The value beyond the ends for the mode 'constant'.
    out : ndarray, optional
        Where to write the result; of its exact shape and dtype, any strides, no overlap with the inputs.
    method : {'auto', 'direct', 'fft'}
        'direct' multiplies and adds; 'fft' transforms blocks of the signal, for filters of thousands of taps in each of
        the `up` phases; 'auto' takes the faster one. A GPU multiplies and adds.
    device : {'auto', 'cpu', 'cuda'}
        As of `conv_transpose1d`. Arrays on a GPU are zero beyond their ends: the mode 'constant' with `cval` 0.
    stream : object with ``__cuda_stream__``, or int, optional
        As of `conv_transpose1d`.

    Returns
    -------
    ndarray
        As `x`, with ``((length - 1)*up + taps - 1)//down + 1`` samples along `axis`, and with the axes of a bank. The
        dtype is ``np.result_type(h, x, np.float32)``.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, the rule and what was given. Nothing has been written to `out` then.

    See Also
    --------
    resample_poly : designs the filter and cuts its delay.
    Upsampler : the same, block by block.

    Notes
    -----
    .. math:: y[n] = \sum_k h[k] \, u[n \cdot down - k], \qquad u[i \cdot up] = x[i]

    By 'direct' the error of an output is below ``taps/up * eps * sum(abs(h)) * max(abs(x))``, whatever the rest of the
    signal; by 'fft' it is about ``eps * log2(taps) * norm(h) * norm(x)`` of the block around it, so that a quiet
    passage beside a loud one has fewer correct digits. Real taps on complex signals cost no complex multiplication.

    Reference: Crochiere and Rabiner, "Multirate Digital Signal Processing", 1983, section 3.3.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_tconv import upfirdn
    >>> upfirdn([0.5, 1.0, 0.5], [1.0, 2.0, 3.0], up=2)
    array([0.5, 1. , 1.5, 2. , 2.5, 3. , 1.5])
    >>> upfirdn([[1.0, 1.0], [1.0, -1.0]], [1.0, 2.0, 3.0])  # sums and differences
    array([[ 1.,  3.,  5.,  3.],
           [ 1.,  1.,  1., -3.]])
    """
    filters = as_array("h", h, may_be_on_gpu=True)
    signal = as_array("x", x, may_be_lazy=True, may_be_on_gpu=True)
    plan = _planned(filters, signal, up, down, axis, mode, method, device)
    polyphase = _polyphase(filters, plan, signal, method, device, stream)
    return _run(polyphase, signal, plan.axis, 0, plan.shape, plan.dtype, mode, cval, out, filters)


class _Plan(NamedTuple):
    """What the arguments of `upfirdn` without their values decide."""

    up: int
    down: int
    axis: int
    by_fft: bool
    work: Work
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@lru_cache(maxsize=4096, typed=True)
def _plan(
    h_shape: tuple[int, ...], h_dtype: np.dtype[Any], x_shape: tuple[int, ...], x_dtype: np.dtype[Any], up: int,
    down: int, axis: int, mode: str, method: str, device: str,
) -> _Plan:  # fmt: skip
    """Check everything; looked up, that takes half a microsecond and not five, as long as a small call may take."""
    check_taps("h", h_shape)
    up, down = as_rate("up", up), as_rate("down", down)
    place = as_axis(x_shape, axis)
    if x_shape[place] == 0:
        raise ValueError(f"x must have at least one sample along axis {axis}; got the shape {x_shape}")
    check_choice("mode", mode, MODES)
    check_choice("method", method, METHODS)
    check_device(device)
    shape = result_shape(h_shape, x_shape, place, rate_length(x_shape[place], h_shape[-1], up, down))
    by_fft = method == "fft" or (method == "auto" and fft_is_faster(h_shape[-1], up, down))
    dtype = result_dtype(h_dtype, x_dtype)
    products = prod(shape) * -(-h_shape[-1] // up)
    cost = work(products, x_dtype, h_dtype, prod(x_shape) + prod(shape), dtype)
    return _Plan(up, down, place, by_fft, cost, shape, dtype)


def _planned(h: Array, x: Array, up: int, down: int, axis: int, mode: str, method: str, device: str) -> _Plan:
    """Return the `_Plan` of a filter and signals."""
    plan: _Plan = looked_up(_plan, h.shape, h.dtype, x.shape, x.dtype, up, down, axis, mode, method, device)
    return plan


class _Numbers:
    """The numbers of an array as a key: looked for by a few of its bytes, for hashing 3,201 taps takes 8 us."""

    __slots__ = ("_few", "bytes")

    def __init__(self, array: Array) -> None:
        self.bytes = array.tobytes()
        self._few = self.bytes[:: len(self.bytes) // 256 | 1]

    def __hash__(self) -> int:
        return hash(self._few)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Numbers) and self.bytes == other.bytes


@lru_cache(maxsize=64)
def _kept(taps: _Numbers, dtype: np.dtype[Any], shape: tuple[int, ...], up: int, down: int, by_fft: bool) -> Polyphase:
    """Return a filter as a call before has packed it: 256 samples take 6.2 us, and 11 with the taps packed anew."""
    return Polyphase(np.frombuffer(taps.bytes, dtype).reshape(shape), up, down, by_fft=by_fft)


def _polyphase(h: Array, plan: _Plan, x: Array, method: str, device: str, stream: Any) -> Polyphase:
    """Return the filter on the machine that serves a call."""
    is_small = plan.work.products < FEWEST_PRODUCTS
    if is_small and device != "cuda" and DEFAULT != "cuda" and type(x) is type(h) is np.ndarray and stream is None:
        if h.size <= MOST_KEPT_TAPS:
            return _kept(_Numbers(h), h.dtype, h.shape, plan.up, plan.down, plan.by_fft)
        return Polyphase(h, plan.up, plan.down, by_fft=plan.by_fft)  # a microsecond less for small calls
    address, on_gpu, served = check_stream(stream, x), is_on_gpu(x), check_device(device)
    if on_gpu:
        check_on_gpu(served)
    else:
        check_one_place(h=h)
        # Long filters are transformed on the CPU, unless a GPU is asked for.
        on_gpu = not is_lazy(x) and (served == "cuda" or not plan.by_fft) and serves_on_gpu(served, plan.work)
    if on_gpu and method == "fft":
        raise ValueError("method must be 'auto' or 'direct' on a GPU; got 'fft'")
    return Polyphase(h, plan.up, plan.down, by_fft=plan.by_fft and not on_gpu, on_gpu=on_gpu, stream=address)


def resample_poly(
    x: ArrayLike,
    up: int,
    down: int,
    axis: int = 0,
    window: Any = ("kaiser", 5.0),
    padtype: str = "constant",
    cval: complex | None = None,
    *,
    method: str = "auto",
    device: str = "auto",
    stream: Any = None,
) -> Any:
    """Change the rate of a signal by up/down, without delay: `scipy.signal.resample_poly`, faster.

    Parameters
    ----------
    x : array_like
        Signals, as of `upfirdn`.
    up, down : int
        The rates; a common factor is cancelled.
    axis : int
        The axis of time in `x`.
    window : str, tuple, float or array_like
        The window that `scipy.signal.firwin` designs the low-pass filter with, ``20*max(up, down) + 1`` taps; or the
        taps themselves. A filter designed for the same rates, window and dtype before is taken from a cache.
    padtype : str
        How the signal goes on beyond its ends: a `mode` of `upfirdn`; or 'mean', 'median', 'minimum' or 'maximum',
        which are subtracted before and added again behind.
    cval : number, optional
        The value beyond the ends for 'constant'; zero by default.
    method, device, stream
        As of `upfirdn`.

    Returns
    -------
    ndarray
        As `x`, with ``ceil(length*up/down)`` samples along `axis`. The dtype is that of `upfirdn`; a filter that is
        designed has the real dtype of `x`, float64 where that is an integer.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, the rule and what was given; also for rates above 2**20, whose filter would take gigabytes.

    See Also
    --------
    upfirdn : with a filter of your own, the delay left in.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_tconv import resample_poly
    >>> t = np.arange(441) / 44100
    >>> y = resample_poly(np.sin(2 * np.pi * 1000 * t), 160, 147)  # 44.1 to 48 kHz
    >>> y.shape
    (480,)
    >>> error = y - np.sin(2 * np.pi * 1000 * np.arange(480) / 48000)
    >>> bool(np.abs(error[40:-40]).max() < 3e-3)
    True
    """
    signal = as_array("x", x, may_be_lazy=True, may_be_on_gpu=True)
    check_choice("padtype", padtype, (*BACKGROUNDS, *MODES))
    if cval is not None and padtype != "constant":
        raise ValueError(f"cval must be left out unless padtype is 'constant'; got {cval!r} with {padtype!r}")
    rates = as_rate("up", up), as_rate("down", down)
    up, down = (rate // gcd(*rates) for rate in rates)
    is_equal = up == down
    taps, centre = (np.ones(1), 0) if is_equal else low_pass(signal.dtype, up, down, window)
    plan = _planned(taps, signal, up, down, axis, "constant", method, device)
    if is_equal and not is_on_gpu(signal):
        return signal.copy()
    count = -(-signal.shape[plan.axis] * up // down)
    shape = result_shape(taps.shape, signal.shape, plan.axis, count)
    polyphase = _polyphase(taps, plan, signal, method, device, stream)
    if padtype not in BACKGROUNDS:
        return _run(polyphase, signal, plan.axis, centre, shape, plan.dtype, padtype, cval or 0, None, taps)
    if is_on_gpu(signal):
        raise ValueError(f"padtype must be 'constant' where x is on a GPU; got {padtype!r}")
    background = BACKGROUNDS[padtype](signal, axis=axis, keepdims=True)
    result = _run(polyphase, signal - background, plan.axis, centre, shape, plan.dtype, "constant", 0, None, taps)
    result += background
    return result


def _run(
    polyphase: Polyphase, x: Array, axis: int, left: int, shape: tuple[int, ...], dtype: np.dtype[Any], mode: str,
    cval: complex, out: Any, h: Array,
) -> Any:  # fmt: skip
    """Allocate or check the output, which must not overlap x or the caller's `h`, and compute it."""
    if type(x) is np.ndarray:  # asked first: a small call has no time for other questions
        result = new_or_checked(out, shape, dtype, (x, h))
        polyphase.write(x, axis, left, result, mode, cval)
        return result
    if is_lazy(x):
        check_no_out(out)
        return _run_lazily(polyphase, x, axis, left, shape[axis], dtype, mode, cval)
    if mode != "constant" or cval != 0:
        raise ValueError(f"mode must be 'constant' with cval 0 where x is on a GPU; got {mode!r} with {cval!r}")
    with of(x):
        there = result_like(x, shape, dtype, out, (h,))
        polyphase.write(x, axis, left, there, mode, cval)
    return owner(there)


def _run_lazily(
    polyphase: Polyphase, x: Any, axis: int, left: int, count: int, dtype: np.dtype[Any], mode: str, cval: complex
) -> Array:
    """`_run` of a dask.array."""
    up, down, halo = polyphase.up, polyphase.down, polyphase.halo
    if mode != "constant" or cval != 0:
        # As many made-up samples as outputs see.
        before = max(0, halo - left // up)
        after = max(0, (left + (count - 1) * down) // up + 1 - x.shape[axis])
        x, left = continued(x, axis, before, after, dtype, mode, cval), left + before * up
    h, chunks = bank(polyphase.h, x, axis)
    result: Array = filtered(
        _filter_block, x, h, axis=axis, rates=(up, down), halo=halo, run=Run(left, count), dtype=dtype,
        chunks=chunks, up=up, down=down, by_fft=polyphase.by_fft, time=axis,
    )  # fmt: skip
    return result


def _filter_block(x: Array, h: Array, *, run: Run, up: int, down: int, by_fft: bool, time: int) -> Any:
    """Compute some outputs of a block."""
    taps = h if h.ndim == 1 else np.moveaxis(h, time, -1)
    shape, dtype = result_shape(taps.shape, x.shape, time, run.size), result_dtype(taps.dtype, x.dtype)
    return _run(Polyphase(taps, up, down, by_fft=by_fft), x, time, run.left, shape, dtype, "constant", 0, None, taps)


class Upsampler(Stream):
    """`upfirdn` for a signal that comes in blocks: ``upsampler.process(block)`` for each, then ``upsampler.flush()``.

    The results, joined, have the bits of ``upfirdn(h, x, up, down, axis, method="direct")`` for the whole signal.

    Parameters
    ----------
    h : array_like, (taps,) or (..., taps)
        The filter, or a bank of them, as of `upfirdn`.
    up, down : int
        The rates.
    axis : int
        The axis of time in the blocks.
    device : {'auto', 'cpu', 'cuda'}
        As of `conv_transpose1d`.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, the rule and what was given.

    See Also
    --------
    ConvTranspose1d.stream : the same for layers.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_tconv import Upsampler
    >>> triangle = Upsampler([0.5, 1.0, 0.5], up=2)
    >>> triangle.process([1.0, 2.0]), triangle.process([]), triangle.process([3.0]), triangle.flush()
    (array([0.5, 1. , 1.5, 2. ]), array([], dtype=float64), array([2.5, 3. ]), array([1.5]))
    >>> triangle.delay
    1.0
    """

    def __init__(self, h: ArrayLike, up: int, down: int = 1, axis: int = -1, *, device: str = "auto") -> None:
        taps = as_array("h", h).copy()
        check_taps("h", taps.shape)
        on_gpu = check_device(device) == "cuda"
        polyphase = Polyphase(taps, as_rate("up", up), as_rate("down", down), on_gpu=on_gpu)
        super().__init__(_StreamedRates(polyphase, axis))
        # In output samples, half the filter: for symmetric taps, by how much the output lags behind the input.
        self.delay = (polyphase.h.shape[-1] - 1) / 2 / polyphase.down


class _StreamedRates:
    """A change of rate as a stream's operator."""

    def __init__(self, polyphase: Polyphase, axis: int) -> None:
        self._polyphase, self.axis = polyphase, axis
        # Zeros behind a filter shorter than `up` are held back, because the signal might end here.
        self.halo = max(1, polyphase.halo)

    def total(self, received: int) -> int:
        """Return how many outputs a signal of `received` samples has."""
        return self._polyphase.full_length(received) if received else 0

    def final(self, received: int) -> int:
        """Return how many outputs no sample behind the first `received` ones can change."""
        return min(self.total(received), -(-received * self._polyphase.up // self._polyphase.down))

    def check(self, x: Array) -> None:
        """Count the axis of time from the end, and see that there is one."""
        self.axis = as_axis(x.shape, self.axis)

    def result(self, x: Array, count: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Return the shape and dtype of `count` outputs for blocks like x."""
        h = self._polyphase.h
        return result_shape(h.shape, x.shape, self.axis, count), result_dtype(h.dtype, x.dtype)

    def write(self, x: Array, first: int, begin: int, out: Array) -> None:
        """Write the outputs from `begin` on to `out`; x begins with sample `first`."""
        self._polyphase.write(x, self.axis, begin * self._polyphase.down - first * self._polyphase.up, out)


def check_taps(name: str, shape: tuple[int, ...]) -> None:
    """Refuse a filter, or a bank of them, without taps."""
    if 0 in (len(shape), *shape):
        raise ValueError(f"{name} must have the shape (taps,) or (..., taps), no size 0; got {shape}")


def as_rate(name: str, rate: object) -> int:
    """Return a positive int; a float without a fraction passes, as it does in SciPy."""
    return as_integer(name, int(rate) if isinstance(rate, float) and rate.is_integer() else rate, 1)


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse what is none of the choices."""
    if not (isinstance(value, str) and value in choices):
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}")


def low_pass(dtype: np.dtype[Any], up: int, down: int, window: Any) -> tuple[Array, int]:
    """Return the filter of `resample_poly` and the place of its centre: SciPy's design, or the caller's taps."""
    if isinstance(window, (list, np.ndarray)):
        taps = as_array("window", window)
        check_taps("window", taps.shape)
        if taps.ndim != 1:
            raise ValueError(f"window must be 1-D where it is an array; got the shape {taps.shape}")
        return taps * up, (taps.size - 1) // 2
    real = dtype.type().real.dtype if dtype.kind in "fc" else np.dtype(np.float64)
    rate = max(up, down)
    if rate > HIGHEST_RATE:
        raise ValueError(f"up and down must not exceed {HIGHEST_RATE} without their common factor; got {up} and {down}")
    try:
        return _cached_design(real, up, rate, window), 10 * rate
    except TypeError:  # a window with an array in it is no key; and what is no window at all fails once more
        return _design(real, up, rate, window), 10 * rate


def _design(dtype: np.dtype[Any], up: int, rate: int, window: Any) -> Array:
    """Design the low-pass filter; read-only, because the cache holds it."""
    from scipy.signal import firwin

    taps: Array = firwin(20 * rate + 1, 1 / rate, window=window).astype(dtype)
    taps *= up
    taps.flags.writeable = False
    return taps


_cached_design = lru_cache(maxsize=64)(_design)
