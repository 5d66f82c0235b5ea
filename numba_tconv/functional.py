"""The transposed convolution of arrays: `conv_transpose1d`, and the plan `ConvTranspose1d` for repeated calls.

Here arguments are checked and dtypes chosen; the integers are `geometry.py`'s, the arithmetic is a backend's. All
faces of the package (layer, resampling, training) come through here.
"""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_tconv.backends import check_device
from numba_tconv.geometry import Geometry, Padding, as_integer, as_padding, geometry

_DTYPES = frozenset("?bBhHiIlLqQefdFD")


@cache
def _cpu() -> ModuleType:
    """Return the CPU backend; the first call imports Numba."""
    from numba_tconv.backends.cpu import forward

    return forward


class _Options(NamedTuple):
    """The options of an operator, checked."""

    stride: int
    padding: tuple[int, int] | str
    output_padding: int
    groups: int
    dilation: int


def _check_options(stride: int, padding: Padding, output_padding: int, groups: int, dilation: int) -> _Options:
    return _Options(
        as_integer("stride", stride, 1),
        as_padding(padding),
        as_integer("output_padding", output_padding, 0),
        as_integer("groups", groups, 1),
        as_integer("dilation", dilation, 1),
    )


def as_array(name: str, value: Any) -> NDArray[Any]:
    """Return `value` as an aligned array of a native dtype that is computed with."""
    if type(value) is np.ndarray:
        array = value
    elif isinstance(value, np.ma.MaskedArray):  # asarray would drop the mask
        raise _dtype_error(name, "a masked array")
    else:
        try:
            array = np.asarray(value)
        except (TypeError, ValueError) as error:
            raise _dtype_error(name, f"{type(value).__name__} ({error})") from None
    if array.dtype.char not in _DTYPES:
        raise _dtype_error(name, array.dtype if array.dtype != object else type(value).__name__)
    if not (array.flags.aligned and array.dtype.isnative):
        array = array.astype(array.dtype.newbyteorder("="))
    return array


def _dtype_error(name: str, got: object) -> TypeError:
    return TypeError(f"{name} must be an array of bool, integer, float16/32/64 or complex64/128; got {got}")


def _check_weight(weight: ArrayLike, options: _Options) -> NDArray[Any]:
    array = as_array("weight", weight)
    if array.ndim != 3 or 0 in array.shape:
        raise ValueError(
            "weight must have the shape (in_channels, out_channels // groups, filter_size), no size 0; "
            f"got {array.shape}"
        )
    if array.shape[0] % options.groups:
        raise ValueError(f"groups must divide the {array.shape[0]} input channels of weight; got {options.groups}")
    return array


def _check_bias(bias: ArrayLike | None, weight: NDArray[Any], groups: int) -> NDArray[Any] | None:
    if bias is None:
        return None
    array = as_array("bias", bias)
    if array.shape != (weight.shape[1] * groups,):
        raise ValueError(f"bias must have the shape (out_channels,) = ({weight.shape[1] * groups},); got {array.shape}")
    return array


def _check_x(x: ArrayLike, in_channels: int) -> NDArray[Any]:
    """Return `x` as (batch, in_channels, length) or (in_channels, length)."""
    array = as_array("x", x)
    if array.ndim not in (2, 3):
        raise ValueError(
            f"x must have the shape (batch, in_channels, length) or (in_channels, length); got {array.shape}"
        )
    if array.shape[-2] != in_channels:
        raise ValueError(f"weight has {in_channels} input channels, x has {array.shape[-2]} (shape {array.shape})")
    if array.shape[-1] == 0:
        raise ValueError(f"x must have at least one sample; got the shape {array.shape}")
    return array


def check_out(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], inputs: Sequence[NDArray[Any]]) -> NDArray[Any]:
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"out must be an ndarray; got {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"out must have the dtype {dtype}; got {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"out must have the shape {shape}; got {out.shape}")
    if not (out.flags.writeable and out.flags.aligned):
        raise ValueError("out must be writeable and aligned")
    if not out.flags.c_contiguous and _may_repeat(out):
        raise ValueError(f"out must not repeat its own samples; got the strides {out.strides} for {out.shape}")
    for array in inputs:
        if np.may_share_memory(out, array) and _shares_memory(out, array):
            raise ValueError("out must not overlap x, weight or bias")
    return out


def _may_repeat(array: NDArray[Any]) -> bool:
    """Whether an array's axes are not nested, each step as large as all that the smaller ones span."""
    span = array.itemsize
    for step, size in sorted((abs(step), size) for step, size in zip(array.strides, array.shape, strict=True)):
        if size > 1:
            if step < span:
                return True
            span += step * (size - 1)
    return False


def _shares_memory(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays overlap; True where that is too hard to tell."""
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]  # the stubs know two values only
    except np.exceptions.TooHardError:
        return True


@cache
def _result_dtype(x: np.dtype[Any], weight: np.dtype[Any]) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.result_type(x, weight)
    return np.result_type(dtype, np.float32) if dtype.kind in "biu" else dtype


@cache
def _computed_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the real dtype that a result of `dtype` is computed in."""
    return np.dtype(np.float64 if dtype.char in "dD" else np.float32)


class _Prepared(NamedTuple):
    """What one operator needs for inputs of one dtype."""

    dtype: np.dtype[Any]
    layout: Any
    bias: NDArray[Any]


@lru_cache(maxsize=4096)
def _layout(shape: tuple[int, int, int], weight: np.dtype[Any], options: _Options, x: np.dtype[Any]) -> Any:
    """Return the layout of weights of a shape and dtype for inputs of the dtype `x`."""
    return _cpu().plan_layout(
        _computed_dtype(_result_dtype(x, weight)),
        groups=options.groups,
        channels=shape[0] // options.groups,
        filters=shape[1],
        filter_size=shape[2],
        stride=options.stride,
        dilation=options.dilation,
        x_parts=2 if x.kind == "c" else 1,
        weight_parts=2 if weight.kind == "c" else 1,
    )


def _prepare(weight: NDArray[Any], bias: NDArray[Any] | None, options: _Options, x: np.dtype[Any]) -> _Prepared:
    """Choose the dtype and the layout, spread the bias over real parts."""
    dtype = _result_dtype(x, weight.dtype)
    layout = _layout(weight.shape, weight.dtype, options, x)
    if bias is None:
        return _Prepared(dtype, layout, layout.zero_bias)
    if bias.dtype.kind == "c" and dtype.kind != "c":
        raise TypeError(f"bias must be real where x and weight are; got {bias.dtype}")
    return _Prepared(dtype, layout, bias.astype(dtype if dtype.kind == "c" else layout.dtype).view(layout.dtype))


def _run(
    forward: Callable[..., None],
    prepared: _Prepared,
    shape: Geometry,
    x: NDArray[Any],
    weights: NDArray[Any],
    filters: int,
    out: Any,
    inputs: Sequence[NDArray[Any]],
) -> NDArray[Any]:
    """Allocate or check the output and compute it from the weights that `forward` takes."""
    out_shape = (*x.shape[:-2], filters, shape.output_length)
    if out is None:
        result: NDArray[Any] = np.empty(out_shape, prepared.dtype)
    else:
        result = check_out(out, out_shape, prepared.dtype, (x, *inputs))
    if x.ndim == 2:
        forward(prepared.layout, shape, x[None], weights, prepared.bias, result[None])
    else:
        forward(prepared.layout, shape, x, weights, prepared.bias, result)
    return result


def conv_transpose1d(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int = 1,
    padding: Padding = 0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
    out: NDArray[Any] | None = None,
    device: str = "auto",
) -> NDArray[Any]:
    r"""Transposed convolution along the last axis: every input sample adds a scaled filter to the output.

    Parameters
    ----------
    x : array_like, (batch, in_channels, length) or (in_channels, length)
        Signals; any strides. Bool, integer, float16, float32, float64, complex64 or complex128.
    weight : array_like, (in_channels, out_channels // groups, filter_size)
        Filters, not flipped; dtypes as x. Real weights on complex signals cost no complex multiplication.
    bias : array_like, (out_channels,), optional
        Added to every sample of a channel.
    stride : int
        Output step per input sample.
    padding : int, (left, right) or 'same'
        Samples cut from both ends of the full output. 'same' leaves `length * stride` samples: an odd one is cut from
        the right, and a filter shorter than the stride leaves samples of bias at the end.
    output_padding : int
        Samples added to the right end, fewer than stride or dilation.
    groups : int
        Groups of channels that do not see each other; `in_channels` for a depthwise operator.
    dilation : int
        Spacing of the taps.
    out : ndarray, optional
        Where to write the result; of its exact shape and dtype, any strides, no overlap with the inputs.
    device : {'auto', 'cpu', 'cuda'}
        'auto' takes the environment variable ``NUMBA_TCONV_DEVICE``, or chooses. CUDA is not available yet.

    Returns
    -------
    ndarray, (batch, out_channels, output_length) or (out_channels, output_length)
        ``output_length = (length-1)*stride + dilation*(filter_size-1) + 1 - left - right + output_padding``. The dtype
        is ``np.result_type(x, weight)``, joined with float32 where that is an integer. float16 is computed in float32
        and rounded once.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, the rule and what was given. Nothing has been written to `out` then.

    See Also
    --------
    ConvTranspose1d : keeps the packed weights; faster where the same weights are used again.

    Notes
    -----
    .. math:: y[n, f, s i + d k - left] \mathrel{+}= w[c, f, k] \, x[n, c, i]

    This is PyTorch's `conv_transpose1d`, with an asymmetric crop and 'same' besides. One channel and ``stride=up`` is
    SciPy's ``upfirdn(h, x, up)``. Reference: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning",
    arXiv:1603.07285, relationship 14.

    As in `upfirdn`, a filter may be filled up with zeros to a multiple of the stride: a sample that is NaN or infinite
    then also makes NaN of the outputs, fewer than `stride`, that those zeros belong to.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_tconv import conv_transpose1d
    >>> x = np.array([[1.0, 2.0, 3.0]])
    >>> triangle = np.array([[[0.5, 1.0, 0.5]]])
    >>> conv_transpose1d(x, triangle, stride=2, padding=(1, 0))  # linear interpolation
    array([[1. , 1.5, 2. , 2.5, 3. , 1.5]])
    """
    options = _check_options(stride, padding, output_padding, groups, dilation)
    weight = _check_weight(weight, options)
    bias = _check_bias(bias, weight, options.groups)
    x = _check_x(x, weight.shape[0])
    check_device(device)
    shape = geometry(
        x.shape[-1], weight.shape[2], options.stride, options.padding, options.output_padding, options.dilation
    )
    inputs = (weight,) if bias is None else (weight, bias)
    filters = weight.shape[1] * options.groups
    prepared = _prepare(weight, bias, options, x.dtype)
    return _run(_cpu().forward_once, prepared, shape, x, weight, filters, out, inputs)


class ConvTranspose1d:
    """A transposed convolution with fixed weights, packed once: ``op = ConvTranspose1d(weight); y = op(x)``.

    The weights are copied; any length and batch can follow, with nothing to set up for a new one. Calls from several
    threads are safe. Parameters as of `conv_transpose1d`.

    Parameters
    ----------
    weight : array_like, (in_channels, out_channels // groups, filter_size)
        Filters, not flipped.
    bias : array_like, (out_channels,), optional
        Added to every sample of a channel.
    stride, padding, output_padding, groups, dilation, device
        As of `conv_transpose1d`.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, the rule and what was given.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_tconv import ConvTranspose1d
    >>> op = ConvTranspose1d(np.ones((1, 1, 2)), [10.0], stride=2)
    >>> op(np.array([[1.0, 2.0, 3.0]]))
    array([[11., 11., 12., 12., 13., 13.]])
    """

    def __init__(
        self,
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        stride: int = 1,
        padding: Padding = 0,
        output_padding: int = 0,
        groups: int = 1,
        dilation: int = 1,
        device: str = "auto",
    ) -> None:
        self._options = _check_options(stride, padding, output_padding, groups, dilation)
        self._weight = _check_weight(weight, self._options).copy()
        checked = _check_bias(bias, self._weight, self._options.groups)
        self._bias = None if checked is None else checked.copy()
        self._device = check_device(device)
        self._filters = self._weight.shape[1] * self._options.groups
        self._prepared: dict[np.dtype[Any], tuple[_Prepared, NDArray[Any]]] = {}
        # Packed for the likely input: of the weights' dtype, or complex where the bias is.
        is_complex = checked is not None and checked.dtype.kind == "c"
        self._prepare(np.result_type(self._weight, np.complex64) if is_complex else self._weight.dtype)

    def _prepare(self, x: np.dtype[Any]) -> tuple[_Prepared, NDArray[Any]]:
        """Return what inputs of the dtype `x` need, and the packed weights; panels are shared where they are equal."""
        prepared = _prepare(self._weight, self._bias, self._options, x)
        packed = {id(other.layout): panels for other, panels in self._prepared.values()}
        panels = packed.get(id(prepared.layout))
        if panels is None:
            panels = _cpu().pack(prepared.layout, self._weight)
        self._prepared[x] = prepared, panels
        return prepared, panels

    def __call__(self, x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the transposed convolution of `x`.

        Parameters
        ----------
        x : array_like, (batch, in_channels, length) or (in_channels, length)
            Signals; any strides.
        out : ndarray, optional
            Where to write the result; of its exact shape and dtype, any strides, no overlap with `x`.

        Returns
        -------
        ndarray, (batch, out_channels, output_length) or (out_channels, output_length)
            As of `conv_transpose1d`.
        """
        x = _check_x(x, self._weight.shape[0])
        prepared, panels = self._prepared.get(x.dtype) or self._prepare(x.dtype)
        stride, padding, output_padding, _, dilation = self._options
        shape = geometry(x.shape[-1], self._weight.shape[2], stride, padding, output_padding, dilation)
        return _run(_cpu().forward, prepared, shape, x, panels, self._filters, out, ())

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options._asdict().items())
        return f"ConvTranspose1d(weight {self._weight.shape} {self._weight.dtype}, {options})"
