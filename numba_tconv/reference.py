"""The transposed convolution by definition, three times over, and its gradients, slowly and in double precision.

Here belongs the tests' oracle; also what docs point to as the definition. NumPy and SciPy alone: nothing of this
package is imported, not even its geometry, so that no mistake can be shared. The three sums have nothing in common but
the layout of the groups and the crop, and none of them splits the filter into branches as the compute kernels do.
Arguments are not checked.
"""

from typing import Any

import numpy as np
import scipy.signal
from numpy.typing import ArrayLike, NDArray

Padding = int | tuple[int, int] | str


def scatter(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int = 1,
    padding: Padding = 0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
) -> NDArray[Any]:
    """Transposed convolution as a scatter: every input sample adds its multiple of the filter to the output.

    Parameters
    ----------
    x : array_like (batch, in_channels, length) or (in_channels, length)
        Input.
    weight : array_like (in_channels, out_channels // groups, filter_size)
        Filters, not flipped.
    bias : array_like (out_channels,), optional
        Added to every output sample.
    stride : int
        Output step per input sample.
    padding : int, (int, int) or 'same'
        Samples cut from either end, from (left, right), or as many as leave `length * stride` samples: an odd one is
        cut from the right, and where the dilated filter is shorter than the stride, samples are appended instead.
    output_padding : int
        Samples appended after the full output, before `padding` cuts. Appended samples hold the bias alone.
    groups : int
        Blocks of input channels, each with output channels of its own.
    dilation : int
        Spacing of the taps.

    Returns
    -------
    ndarray (batch, out_channels, output_length) or (out_channels, output_length)
        float64, or complex128 where an argument is complex, whatever the precision of the arguments.

    Raises
    ------
    ValueError
        If `padding` leaves no output sample.

    Notes
    -----
    With `left` samples cut, for the channels c of the group that f belongs to::

        y[n, f, stride*i + dilation*k - left] += weight[c, f, k] * x[n, c, i]

    References
    ----------
    PyTorch documentation, `torch.nn.ConvTranspose1d`: layouts, output length and the meaning of the options.
    V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285, chapter 4.

    Examples
    --------
    >>> scatter([[1, 2]], [[[1, 10, 100]]], stride=2)
    array([[  1.,  10., 102.,  20., 200.]])
    >>> scatter([[1, 2]], [[[1, 10]]], [0.5], stride=3, padding="same")
    array([[ 1.5, 10.5,  0.5,  2.5, 20.5,  0.5]])
    """
    x, weight = _as_groups(x, weight, groups)
    length, filter_size = x.shape[-1], weight.shape[-1]
    full_length = (length - 1) * stride + dilation * (filter_size - 1) + 1
    full = np.zeros((*x.shape[:-2], weight.shape[2], full_length), np.result_type(x, weight))
    for i in range(length):
        for k in range(filter_size):
            full[..., stride * i + dilation * k] += np.einsum("...gc,gcf->...gf", x[..., i], weight[..., k])
    return _crop(full, bias, same_length=length * stride, padding=padding, output_padding=output_padding)


def zero_insertion(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int = 1,
    padding: Padding = 0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
) -> NDArray[Any]:
    """Transposed convolution as an upsampler: insert zeros between the samples, then filter.

    Parameters
    ----------
    x, weight, bias, stride, padding, output_padding, groups, dilation
        As in `scatter`; finite, because the inserted zeros are multiplied too.

    Returns
    -------
    ndarray (batch, out_channels, output_length) or (out_channels, output_length)
        As in `scatter`.

    Raises
    ------
    ValueError
        If `padding` leaves no output sample.

    Notes
    -----
    With `*` the full linear convolution along time, u[stride*i] = x[i] and h[dilation*k] = weight[k], zero elsewhere::

        full[n, f] = sum_c h[c, f] * u[n, c]

    References
    ----------
    P. P. Vaidyanathan, "Multirate Systems and Filter Banks", 1993, section 4.1: the interpolation filter.
    Dumoulin and Visin, arXiv:1603.07285, section 4.4: stride as zeros inserted between the inputs.

    Examples
    --------
    >>> zero_insertion([[1, 2]], [[[1, 10, 100]]], stride=2, padding=1)
    array([[ 10., 102.,  20.]])
    """
    x, weight = _as_groups(x, weight, groups)
    length = x.shape[-1]
    x_stuffed, weight_stuffed = _insert_zeros(x, stride), _insert_zeros(weight, dilation)
    full_length = x_stuffed.shape[-1] + weight_stuffed.shape[-1] - 1
    full = np.zeros((*x.shape[:-2], weight.shape[2], full_length), np.result_type(x, weight))
    for *n, g, f in np.ndindex(full.shape[:-1]):
        for c in range(x.shape[-2]):
            signal, taps = x_stuffed[(*n, g, c)], weight_stuffed[g, c, f]
            full[(*n, g, f)] += scipy.signal.convolve(signal, taps, method="direct")
    return _crop(full, bias, same_length=length * stride, padding=padding, output_padding=output_padding)


def convolution_matrix(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: int = 1,
    padding: Padding = 0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
) -> NDArray[Any]:
    """Transposed convolution as what its name says: the transposed matrix of the standard convolution.

    Parameters
    ----------
    x, weight, bias, stride, padding, output_padding, groups, dilation
        As in `scatter`; finite, because the zeros of the matrix are multiplied too.

    Returns
    -------
    ndarray (batch, out_channels, output_length) or (out_channels, output_length)
        As in `scatter`.

    Raises
    ------
    ValueError
        If `padding` leaves no output sample.

    Notes
    -----
    The standard convolution with the same filters slides over a signal v of `full_length` samples,

        z[c, i] = sum_f sum_k weight[c, f, k] * v[f, stride*i + dilation*k]

    which is Z = C V for flattened arrays. The transposed convolution is Y = C^T X + B, transposed and not conjugated.
    C is found by sliding the filters over unit impulses, one per column.

    References
    ----------
    MATLAB documentation, Deep Learning Toolbox, `transposedConv1dLayer`: Y = C^T X + B.
    Dumoulin and Visin, arXiv:1603.07285, section 4.1: convolution as a matrix operation.

    Examples
    --------
    >>> convolution_matrix([[1, 2]], [[[1, 10]]], stride=1, dilation=2)
    array([[ 1.,  2., 10., 20.]])
    """
    x, weight = _as_groups(x, weight, groups)
    (in_channels, length), (out_channels, filter_size) = x.shape[-2:], weight.shape[-2:]
    span = dilation * (filter_size - 1) + 1
    impulses = np.eye((length - 1) * stride + span)
    windows = np.lib.stride_tricks.sliding_window_view(impulses, span, axis=-1)[:, ::stride, ::dilation]
    matrix = np.einsum("gcfk,tik->gcift", weight, windows)
    matrix = matrix.reshape(groups, in_channels * length, out_channels * len(impulses))
    full = matrix.swapaxes(-1, -2) @ x.reshape(*x.shape[:-2], in_channels * length, 1)
    full = full.reshape(*x.shape[:-2], out_channels, len(impulses))
    return _crop(full, bias, same_length=length * stride, padding=padding, output_padding=output_padding)


def gradients(
    grad_output: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    *,
    stride: int = 1,
    padding: Padding = 0,
    output_padding: int = 0,
    groups: int = 1,
    dilation: int = 1,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Gradients of a real loss with respect to x, weight and bias, given its gradient of the output.

    Parameters
    ----------
    grad_output : array_like (batch, out_channels, output_length) or (out_channels, output_length)
        Gradient of the loss with respect to the output.
    x, weight, stride, padding, output_padding, groups, dilation
        As in `scatter`; finite, because grad_output is continued by zeros.

    Returns
    -------
    grad_x, grad_weight, grad_bias : ndarray
        Shapes as of x, weight and bias; float64, or complex128 where an argument is complex.

    Notes
    -----
    The output is linear in each argument, and each gradient its conjugate transpose, applied to g = grad_output::

        grad_x[n, c, i] = sum_f sum_k conj(weight[c, f, k]) * g[n, f, stride*i + dilation*k - left]
        grad_weight[c, f, k] = sum_n sum_i conj(x[n, c, i]) * g[n, f, stride*i + dilation*k - left]
        grad_bias[f] = sum_n sum_t g[n, f, t]

    A complex gradient is dL/da + 1j*dL/db for an argument a + 1j*b; that of a real argument is the real part.

    References
    ----------
    PyTorch documentation, "Autograd mechanics", section "Autograd for Complex Numbers": the convention.

    Examples
    --------
    >>> gradients([[1, 10, 100, 1000]], [[1, 2]], [[[1, 1]]], stride=2)
    (array([[  11., 1100.]]), array([[[ 201., 2010.]]]), array([1111.]))
    """
    shapes = np.shape(x), np.shape(weight)
    x, weight = _as_groups(x, weight, groups)
    g = _as_double(grad_output)
    length, filter_size = x.shape[-1], weight.shape[-1]
    full_length = (length - 1) * stride + dilation * (filter_size - 1) + 1
    if padding == "same":
        left = max(full_length - length * stride, 0) // 2
    else:
        left = padding[0] if isinstance(padding, tuple) else int(padding)
    full = np.zeros((*g.shape[:-1], max(full_length, left + g.shape[-1])), g.dtype)
    full[..., left : left + g.shape[-1]] = g
    full = full.reshape(*g.shape[:-2], groups, weight.shape[2], full.shape[-1])
    windows = full[..., stride * np.arange(length) + dilation * np.arange(filter_size)[:, np.newaxis]]
    grad_x = np.einsum("gcfk,...gfki->...gci", weight.conj(), windows, optimize=True).reshape(shapes[0])
    grad_weight = np.einsum("...gci,...gfki->...gcfk", x.conj(), windows, optimize=True)
    grad_weight = grad_weight.reshape(-1, *weight.shape).sum(axis=0).reshape(shapes[1])
    grad_bias = g.sum(axis=-1).reshape(-1, g.shape[-2]).sum(axis=0)
    return grad_x, grad_weight, grad_bias


def _as_double(array: ArrayLike) -> NDArray[Any]:
    """Return `array` as float64, or complex128 if it is complex."""
    return np.asarray(array).astype(np.complex128 if np.iscomplexobj(array) else np.float64)


def _as_groups(x: ArrayLike, weight: ArrayLike, groups: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return x (..., groups, in_channels, length) and weight (groups, in_channels, out_channels, filter_size)."""
    x, weight = _as_double(x), _as_double(weight)
    in_channels = weight.shape[0] // groups
    x = x.reshape(*x.shape[:-2], groups, in_channels, x.shape[-1])
    return x, weight.reshape(groups, in_channels, *weight.shape[1:])


def _insert_zeros(array: NDArray[Any], step: int) -> NDArray[Any]:
    """Return `array` with its samples `step` apart along the last axis, zeros between them and none at the end."""
    stuffed = np.zeros((*array.shape[:-1], (array.shape[-1] - 1) * step + 1), array.dtype)
    stuffed[..., ::step] = array
    return stuffed


def _crop(
    full: NDArray[Any], bias: ArrayLike | None, *, same_length: int, padding: Padding, output_padding: int
) -> NDArray[Any]:
    """Join the groups of `full` (..., groups, out_channels, full_length), cut or append samples, and add the bias."""
    *batch, groups, out_channels, full_length = full.shape
    if padding == "same":
        excess = full_length - same_length
        left = max(excess, 0) // 2
        right = excess - left
    elif isinstance(padding, tuple):
        left, right = padding
    else:
        left = right = int(padding)
    stop = full_length + output_padding - right
    if stop <= left:
        raise ValueError(f"padding must leave at least one output sample; got {padding!r}")
    kept = full.reshape(*batch, groups * out_channels, full_length)[..., left:stop]
    y = np.zeros((*kept.shape[:-1], stop - left), full.dtype)
    y[..., : kept.shape[-1]] = kept
    return y if bias is None else y + _as_double(bias)[:, np.newaxis]
