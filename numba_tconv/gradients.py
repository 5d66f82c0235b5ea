"""The gradients of the transposed convolution: `conv_transpose1d_backward`.

The transposed convolution is linear in x, in weight and in bias, so each gradient is the transposed operator (for
complex numbers, its conjugate) applied to the gradient of the result; the arithmetic is a backend's.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_tconv import gpu
from numba_tconv.arguments import (
    Options,
    as_array,
    check_options,
    check_stream,
    check_weight,
    check_x,
    computed_dtype,
    result_dtype,
)
from numba_tconv.backends import backend, check_device
from numba_tconv.device_array import DeviceArray
from numba_tconv.geometry import Geometry, Padding, geometry
from numba_tconv.outputs import new

EVERYTHING = ("x", "weight", "bias")


class Gradients(NamedTuple):
    """The gradients with respect to x, weight and bias; None for what was not asked."""

    x: NDArray[Any] | None
    weight: NDArray[Any] | None
    bias: NDArray[Any] | None


def check_wrt(wrt: str | Collection[str]) -> Collection[str]:
    """Return the names of what is asked for."""
    names = (wrt,) if isinstance(wrt, str) else wrt
    try:
        unknown = set(names) - set(EVERYTHING)
    except TypeError:
        raise TypeError(f"wrt must hold names out of 'x', 'weight' and 'bias'; got {wrt!r}") from None
    if unknown:
        raise ValueError(f"wrt must hold names out of 'x', 'weight' and 'bias'; got {wrt!r}")
    return names


def _check_grad_output(grad_output: ArrayLike, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    array = as_array("grad_output", grad_output, may_be_on_gpu=True)
    if array.shape != shape:
        raise ValueError(f"grad_output must have the shape of the output, {shape}; got {array.shape}")
    if array.dtype.kind == "c" and dtype.kind != "c":
        raise TypeError(f"grad_output must be real where x and weight are; got {array.dtype}")
    return array


def conv_transpose1d_backward(
    grad_output: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    *,
    stride: int = 1,
    padding: Padding = 0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
    wrt: str | Collection[str] = EVERYTHING,
    device: str = "auto",
    stream: Any = None,
) -> Gradients:
    r"""Gradients of a real loss through `conv_transpose1d`, given the loss's gradient of the result.

    Parameters
    ----------
    grad_output : array_like, (batch, out_channels, output_length) or (out_channels, output_length)
        Gradient of the loss with respect to the result of `conv_transpose1d`, of its shape; any dtype, real where x and
        weight are, and any strides.
    x : array_like, (batch, in_channels, length) or (in_channels, length)
        The signals of the forward pass.
    weight : array_like, (in_channels, out_channels // groups, filter_size)
        The filters of the forward pass.
    stride, padding, output_padding, groups, dilation
        As of `conv_transpose1d`.
    wrt : collection of {'x', 'weight', 'bias'}
        With respect to what; ``wrt="x"`` for one alone. Nothing is computed for the others.
    device : {'auto', 'cpu', 'cuda'}
        As of `conv_transpose1d`; arrays on a GPU have gradients there, and then a complex result has a complex
        `grad_output`.
    stream : object with ``__cuda_stream__``, or int, optional
        As of `conv_transpose1d`.

    Returns
    -------
    grad_x, grad_weight, grad_bias : ndarray or None
        A named tuple with the fields `x`, `weight` and `bias`, None for what was not asked. Shapes as of x and weight,
        and (out_channels,). The dtype is that of the forward pass's result; grad_x is real where x is, and grad_weight
        where weight is. float16 is computed in float32 and rounded once.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, the rule and what was given.

    See Also
    --------
    ConvTranspose1d.backward : the same for a plan.

    Notes
    -----
    With g = grad_output, zero outside of its samples:

    .. math::

        grad\_x[n, c, i] = \sum_{f, k} \overline{w[c, f, k]} \, g[n, f, s i + d k - left]

        grad\_weight[c, f, k] = \sum_{n, i} \overline{x[n, c, i]} \, g[n, f, s i + d k - left]

        grad\_bias[f] = \sum_{n, t} g[n, f, t]

    Complex gradients follow PyTorch's convention: the gradient of a real loss L with respect to z = a + jb is
    :math:`\partial L/\partial a + j \, \partial L/\partial b`, so that ``z - rate*gradient`` descends. A real argument
    among complex ones has the real part of it.

    Where ``filter_size == 2*stride``, two neighbours of grad_x may be three products instead of four (Winograd,
    "Arithmetic Complexity of Computations", 1980), no less exact; only an infinite g makes NaN there.

    Two equal calls give equal bits, on any number of threads. Besides the results a call needs a few megabytes for each
    thread, and up to 16 for arrays whose channels are contiguous and not their time. Reference: Dumoulin and Visin, "A
    guide to convolution arithmetic for deep learning", arXiv:1603.07285, section 4.1.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_tconv import conv_transpose1d, conv_transpose1d_backward
    >>> x, weight = np.array([[1.0, 2.0, 3.0]]), np.array([[[1.0, 0.0]]])
    >>> y = conv_transpose1d(x, weight, stride=2)
    >>> target = np.array([[1.0, 1.0, 2.0, 2.0, 3.0, 3.0]])
    >>> grad_x, grad_weight, grad_bias = conv_transpose1d_backward(2 * (y - target), x, weight, stride=2)
    >>> grad_weight  # of the squared error: the second tap should grow
    array([[[  0., -28.]]])
    >>> conv_transpose1d_backward(y, x, weight, stride=2, wrt="bias").bias
    array([6.])
    """
    options = check_options(stride, padding, output_padding, groups, dilation)
    weight = check_weight(weight, options)
    return gradients(grad_output, x, weight, options, check_wrt(wrt), check_device(device), stream)


def gradients(
    grad_output: ArrayLike,
    x: ArrayLike,
    weight: NDArray[Any],
    options: Options,
    wanted: Collection[str],
    device: str,
    stream: Any = None,
) -> Gradients:
    """`conv_transpose1d_backward` where all but x and grad_output have been checked."""
    x = check_x(x, weight.shape[0])
    shape = geometry(
        x.shape[-1], weight.shape[2], options.stride, options.padding, options.output_padding, options.dilation
    )
    result = result_dtype(x.dtype, weight.dtype)
    filters = weight.shape[1] * options.groups
    out_shape = (*x.shape[:-2], filters, shape.output_length)
    grad_output = _check_grad_output(grad_output, out_shape, result)
    dtype = computed_dtype(result)

    def like(array: Any) -> np.dtype[Any]:
        """Return the result's dtype, real where `array` is."""
        return result if array.dtype.kind == "c" or result.kind != "c" else dtype

    signals, g = (gpu.with_batch(array) for array in (x, grad_output))
    if gpu.serves(device, shape, x, weight, filters, grad_output=grad_output):
        shapes = {"x": (x.shape, like(x)), "weight": (weight.shape, like(weight)), "bias": (out_shape[-2:-1], result)}
        asked = {name: shapes[name] for name in EVERYTHING if name in wanted}
        return _on_gpu(shape, g, signals, weight, options.groups, asked, check_stream(stream, x), result)
    check_stream(stream, x)
    cpu = backend("cpu.backward")
    g = cpu.turned(g)
    grad_x = grad_weight = grad_bias = None
    if "x" in wanted:
        grad_x = new(x.shape, like(x))
        cpu.input_gradient(shape, g, weight, grad_x.reshape(signals.shape), groups=options.groups, dtype=dtype)
    if "weight" in wanted:
        signals = cpu.turned(signals)
        grad_weight = cpu.weight_gradient(
            shape, g, signals, weight.shape, groups=options.groups, dtype=dtype, out_dtype=like(weight)
        )
    if "bias" in wanted:
        grad_bias = cpu.bias_gradient(g, dtype, result)
    return Gradients(grad_x, grad_weight, grad_bias)


def _on_gpu(
    shape: Geometry,
    grad_output: Any,
    x: Any,
    weight: Any,
    groups: int,
    asked: dict[str, tuple[tuple[int, ...], np.dtype[Any]]],
    stream: int | None,
    result: np.dtype[Any],
) -> Gradients:
    """Return the gradients that are asked for, by their shapes and dtypes, as a GPU computes them."""
    if result.kind == "c" and grad_output.dtype.kind != "c":
        if isinstance(grad_output, DeviceArray):
            raise TypeError(f"grad_output on a GPU must be complex where x or weight is; got {grad_output.dtype}")
        grad_output = grad_output.astype(result)
    with gpu.of(x):
        backward = backend("cuda.backward").Backward(
            shape, grad_output, x, weight, groups, computed_dtype(result), stream
        )
        results = {name: gpu.result_like(x, *how, None, ()) for name, how in asked.items()}
        for name, gradient in results.items():
            backward.write(name, gpu.with_batch(gradient) if name == "x" else gradient)
    return Gradients(*(gpu.owner(results[name]) if name in results else None for name in EVERYTHING))
