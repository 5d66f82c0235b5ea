"""The transposed convolution of arrays: `conv_transpose1d`, and the plan `ConvTranspose1d` for repeated calls.

Arguments are checked by `arguments.py`, the integers are `geometry.py`'s, the arithmetic is a backend's, gradients are
the business of `gradients.py`. The layer, training and PyTorch's module come through here; `resampling.py`'s
signals go through `polyphase.py`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_tconv import gpu
from numba_tconv.arguments import (
    Options,
    as_array,
    check_bias,
    check_channels,
    check_one_place,
    check_options,
    check_stream,
    check_weight,
    check_weight_shape,
    check_x_shape,
    computed_dtype,
    is_lazy,
    looked_up,
    result_dtype,
)
from numba_tconv.backends import backend, check_device
from numba_tconv.geometry import Geometry, Padding, as_padding, blocks, geometry, window
from numba_tconv.gradients import EVERYTHING, Gradients, check_wrt, gradients
from numba_tconv.lazy import Run, filtered
from numba_tconv.outputs import check_no_out, new_or_checked
from numba_tconv.streaming import Stream


class _Prepared(NamedTuple):
    """What one operator needs for inputs of one dtype."""

    dtype: np.dtype[Any]
    layout: Any
    bias: NDArray[Any]


@lru_cache(maxsize=4096)
def _layout(shape: tuple[int, ...], weight: np.dtype[Any], options: Options, x: np.dtype[Any]) -> Any:
    """Return the layout of weights of a shape and dtype for inputs of the dtype `x`."""
    return backend("cpu.forward").plan_layout(
        computed_dtype(result_dtype(x, weight)),
        groups=options.groups,
        channels=shape[0] // options.groups,
        filters=shape[1],
        filter_size=shape[2],
        stride=options.stride,
        dilation=options.dilation,
        x_parts=2 if x.kind == "c" else 1,
        weight_parts=2 if weight.kind == "c" else 1,
    )


def _prepare(
    shape: tuple[int, ...], weight: np.dtype[Any], bias: NDArray[Any] | None, options: Options, x: np.dtype[Any]
) -> _Prepared:
    """Choose the dtype and the layout for weights of a shape and dtype, spread the bias over real parts."""
    dtype = result_dtype(x, weight)
    _check_kind(bias, dtype)
    layout = _layout(shape, weight, options, x)
    if bias is None:
        return _Prepared(dtype, layout, layout.zero_bias)
    return _Prepared(dtype, layout, bias.astype(dtype if dtype.kind == "c" else layout.dtype).view(layout.dtype))


def _check_kind(bias: NDArray[Any] | None, dtype: np.dtype[Any]) -> None:
    """Refuse a complex bias of a real output."""
    if bias is not None and bias.dtype.kind == "c" and dtype.kind != "c":
        raise TypeError(f"bias must be real where x and weight are; got {bias.dtype}")


@dataclass(frozen=True, eq=False)
class _Checked:
    """What the arguments of `conv_transpose1d` without their numbers decide."""

    options: Options
    device: str
    shape: Geometry
    out_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    dtypes: tuple[np.dtype[Any], np.dtype[Any]]
    is_small: bool

    @cached_property
    def prepared(self) -> _Prepared:
        """What the CPU needs where there is no bias."""
        x, weight = self.dtypes
        return _prepare(self.weight_shape, weight, None, self.options, x)


@lru_cache(maxsize=4096, typed=True)
def _check(
    x_shape: tuple[int, ...], x_dtype: np.dtype[Any], weight_shape: tuple[int, ...], weight_dtype: np.dtype[Any],
    stride: int, padding: Padding, output_padding: int, groups: int, dilation: int, device: str,
) -> _Checked:  # fmt: skip
    """Check everything; looked up, that takes 0.6 us and not three, of ten that a small call may take."""
    options = check_options(stride, padding, output_padding, groups, dilation)
    check_weight_shape(weight_shape, options.groups)
    check_x_shape(x_shape, weight_shape[0])
    shape = geometry(
        x_shape[-1], weight_shape[2], options.stride, options.padding, options.output_padding, options.dilation
    )
    device = check_device(device)
    is_small = device != "cuda" and gpu.is_small(prod(x_shape), prod(weight_shape))
    out_shape = (*x_shape[:-2], weight_shape[1] * options.groups, shape.output_length)
    return _Checked(options, device, shape, out_shape, weight_shape, (x_dtype, weight_dtype), is_small)


def _checked(x: Any, weight: Any, padding: Padding, *options: Any) -> _Checked:
    """Return what the arguments decide."""
    stride, output_padding, groups, dilation, device = options
    if not isinstance(padding, (int, str)):
        padding = as_padding(padding)  # (1.0, 2) must not be taken for (1, 2)
    checked: _Checked = looked_up(
        _check, x.shape, x.dtype, weight.shape, weight.dtype, stride, padding, output_padding, groups, dilation, device
    )
    return checked


def _run(
    forward: Callable[..., None],
    prepared: _Prepared,
    shape: Geometry,
    x: NDArray[Any],
    weights: Any,
    out_shape: tuple[int, ...],
    out: Any,
    inputs: Sequence[NDArray[Any]],
) -> NDArray[Any]:
    """Allocate or check the output and compute it from the weights that `forward` takes."""
    result: NDArray[Any] = new_or_checked(out, out_shape, prepared.dtype, (x, *inputs))
    if x.ndim == 2:
        forward(prepared.layout, shape, x[None], weights, prepared.bias, result[None])
    else:
        forward(prepared.layout, shape, x, weights, prepared.bias, result)
    return result


def _run_on_gpu(
    operator: Any,
    shape: Geometry,
    x: Any,
    weight: Any,
    bias: Any,
    out_shape: tuple[int, ...],
    out: Any,
    stream: Any,
) -> Any:
    """`_run` by an `Operator` of the CUDA backend."""
    dtype = result_dtype(x.dtype, weight.dtype)
    _check_kind(bias, dtype)
    address = check_stream(stream, x)
    with gpu.of(x):
        result = gpu.result_like(x, out_shape, dtype, out, (weight, bias))
        operator.run(shape, gpu.with_batch(x), gpu.with_batch(result), computed_dtype(dtype), address)
    return gpu.owner(result)


def _run_lazily(
    shape: Geometry, x: Any, weight: NDArray[Any], bias: NDArray[Any] | None, options: Options
) -> NDArray[Any]:
    """`_run` of a dask.array; channels come together in one chunk."""
    check_one_place(weight=weight)
    dtype = result_dtype(x.dtype, weight.dtype)
    _check_kind(bias, dtype)
    x = x.rechunk({-2: -1})
    halo = shape.dilation * (shape.filter_size - 1) // shape.stride
    chunks = (*x.chunks[:-2], (weight.shape[1] * options.groups,), ())
    run = Run(shape.left, shape.output_length)
    result: NDArray[Any] = filtered(
        _run_block, x, axis=-1, rates=(shape.stride, 1), halo=halo, run=run, dtype=dtype, chunks=chunks,
        weight=weight, bias=bias, groups=options.groups, stride=options.stride, dilation=options.dilation,
    )  # fmt: skip
    return result


def _run_block(
    x: NDArray[Any],
    *,
    run: Run,
    weight: NDArray[Any],
    bias: NDArray[Any] | None,
    groups: int,
    stride: int,
    dilation: int,
) -> NDArray[Any]:
    """Compute some samples of the full output of a block; those behind its end are the bias alone."""
    shape = window(x.shape[-1], weight.shape[2], stride, dilation, run.left, run.size)
    prepared = _prepare(weight.shape, weight.dtype, bias, Options(stride, (0, 0), 0, groups, dilation), x.dtype)
    out_shape = (*x.shape[:-2], weight.shape[1] * groups, run.size)
    return _run(backend("cpu.forward").forward_once, prepared, shape, x, weight, out_shape, None, ())


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
    out: Any = None,
    device: str = "auto",
    stream: Any = None,
) -> Any:
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
        For arrays in host memory. 'auto' takes the environment variable ``NUMBA_TCONV_DEVICE``, or a GPU where there is
        one and it clearly pays. Arrays on a GPU (of CuPy, Numba, PyTorch or JAX) are computed there, with weights from
        either memory, and the result is an array of the same library.
    stream : object with ``__cuda_stream__``, or int, optional
        For arrays on a GPU, the CUDA stream to put the work on; by default the one that x comes with.

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
    weight = as_array("weight", weight, may_be_on_gpu=True)
    x = as_array("x", x, may_be_lazy=True, may_be_on_gpu=True)
    checked = _checked(x, weight, padding, stride, output_padding, groups, dilation, device)
    bias = check_bias(bias, weight, checked.options.groups)
    if checked.is_small and bias is stream is None and type(x) is type(weight) is np.ndarray:
        return _run(
            backend("cpu.forward").forward_once,
            checked.prepared,
            checked.shape,
            x,
            weight,
            checked.out_shape,
            out,
            (weight,),
        )
    check_device(device)  # once more: a forked child has no GPU
    if is_lazy(x):
        check_no_out(out)
        return _run_lazily(checked.shape, x, weight, bias, checked.options)
    if gpu.serves(checked.device, checked.shape, x, weight, checked.out_shape[-2]):
        operator = backend("cuda.forward").Operator(weight, bias, checked.options.groups)
        return _run_on_gpu(operator, checked.shape, x, weight, bias, checked.out_shape, out, stream)
    if stream is not None:
        check_stream(stream, x)
    prepared = _prepare(weight.shape, weight.dtype, bias, checked.options, x.dtype)
    inputs = (weight,) if bias is None else (weight, bias)
    return _run(backend("cpu.forward").forward_once, prepared, checked.shape, x, weight, checked.out_shape, out, inputs)


class ConvTranspose1d:
    """A transposed convolution with fixed weights, packed once: ``op = ConvTranspose1d(weight); y = op(x)``.

    Weights in host memory are copied; any length and batch can follow, with nothing to set up for a new one. Calls from
    several threads are safe. Parameters as of `conv_transpose1d`.

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
        self._options = check_options(stride, padding, output_padding, groups, dilation)
        self._weight = gpu.kept(check_weight(weight, self._options))
        self._bias = gpu.kept(check_bias(bias, self._weight, self._options.groups))
        self._device = check_device(device)
        self._filters = self._weight.shape[1] * self._options.groups
        self._prepared: dict[np.dtype[Any], tuple[_Prepared, Any]] = {}
        if self._device != "cuda" and isinstance(self._weight, np.ndarray):
            # Packed for the likely input: of the weights' dtype, or complex where the bias is.
            is_complex = self._bias is not None and self._bias.dtype.kind == "c"
            self._prepare(np.result_type(self._weight, np.complex64) if is_complex else self._weight.dtype)

    def _prepare(self, x: np.dtype[Any]) -> tuple[_Prepared, Any]:
        """Return what inputs of the dtype `x` need, and the packed weights, which are shared where they are equal."""
        prepared = _prepare(self._weight.shape, self._weight.dtype, self._bias, self._options, x)
        packed = {id(other.layout): weights for other, weights in self._prepared.values()}.get(id(prepared.layout))
        packed = packed or backend("cpu.forward").Packed(prepared.layout, self._weight)
        self._prepared[x] = prepared, packed
        return prepared, packed

    def _prepared_for(self, x: np.dtype[Any]) -> tuple[_Prepared, Any]:
        return self._prepared.get(x) or self._prepare(x)

    @cached_property
    def _on_gpu(self) -> Any:
        """The weights on the GPU."""
        return backend("cuda.forward").Operator(self._weight, self._bias, self._options.groups)

    def __call__(self, x: ArrayLike, out: Any = None, *, stream: Any = None) -> Any:
        """Return the transposed convolution of `x`.

        Parameters
        ----------
        x : array_like, (batch, in_channels, length) or (in_channels, length)
            Signals; any strides.
        out : ndarray, optional
            Where to write the result; of its exact shape and dtype, any strides, no overlap with `x`.
        stream : object with ``__cuda_stream__``, or int, optional
            As of `conv_transpose1d`.

        Returns
        -------
        ndarray, (batch, out_channels, output_length) or (out_channels, output_length)
            As of `conv_transpose1d`.
        """
        x = as_array("x", x, may_be_lazy=True, may_be_on_gpu=True)
        checked = _check(x.shape, x.dtype, self._weight.shape, self._weight.dtype, *self._options, self._device)
        if not (checked.is_small and stream is None and type(x) is type(self._weight) is np.ndarray):
            if is_lazy(x):
                check_no_out(out)
                return _run_lazily(checked.shape, x, self._weight, self._bias, self._options)
            if gpu.serves(self._device, checked.shape, x, self._weight, self._filters):
                return _run_on_gpu(
                    self._on_gpu, checked.shape, x, self._weight, self._bias, checked.out_shape, out, stream
                )
            if stream is not None:
                check_stream(stream, x)
        prepared, packed = self._prepared_for(x.dtype)
        return _run(backend("cpu.forward").forward, prepared, checked.shape, x, packed, checked.out_shape, out, ())

    def backward(self, grad_output: ArrayLike, x: ArrayLike, *, wrt: str | Collection[str] = EVERYTHING) -> Gradients:
        """Return the gradients of a loss, given its gradient of the result for `x`.

        Parameters
        ----------
        grad_output : array_like, (batch, out_channels, output_length) or (out_channels, output_length)
            Gradient of the loss with respect to what the plan returns for `x`.
        x : array_like, (batch, in_channels, length) or (in_channels, length)
            The signals that the plan was called with.
        wrt : collection of {'x', 'weight', 'bias'}
            With respect to what; the others are None.

        Returns
        -------
        grad_x, grad_weight, grad_bias : ndarray or None
            As of `conv_transpose1d_backward`. The last is None where the plan has no bias, and real where that is.
        """
        wanted = check_wrt(wrt)
        if self._bias is None:
            return gradients(grad_output, x, self._weight, self._options, set(wanted) - {"bias"}, self._device)
        found = gradients(grad_output, x, self._weight, self._options, wanted, self._device)
        if found.bias is not None and self._bias.dtype.kind != "c":
            return found._replace(bias=found.bias.real)
        return found

    def stream(self) -> Stream:
        """Return a `Stream` that computes this operator block by block.

        Returns
        -------
        Stream
            Its `process` takes blocks (batch, in_channels, length) or (in_channels, length). What the padding cuts from
            the right is known at the end only, so as many outputs are held back until `flush`; causal models, which cut
            ``filter_size - stride`` there, get ``stride`` outputs for each sample at once.

        Examples
        --------
        >>> import numpy as np
        >>> from numba_tconv import ConvTranspose1d
        >>> op = ConvTranspose1d(np.ones((1, 1, 3)), stride=2)
        >>> stream = op.stream()
        >>> stream.process([[1.0]]), stream.process([[2.0]]), stream.flush()
        (array([[1., 1.]]), array([[3., 2.]]), array([[2.]]))
        """
        return Stream(_StreamedPlan(self))

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options._asdict().items())
        return f"ConvTranspose1d(weight {self._weight.shape} {self._weight.dtype}, {options})"


class _StreamedPlan:
    """A plan as a stream's operator."""

    axis = -1

    def __init__(self, plan: ConvTranspose1d) -> None:
        self._plan = plan
        stride, padding, output_padding, _, dilation = plan._options
        self._blocks = blocks(plan._weight.shape[2], stride, padding, output_padding, dilation)
        self.halo, self.total, self.final = self._blocks.halo, self._blocks.total, self._blocks.final

    def check(self, x: NDArray[Any]) -> None:
        """Refuse blocks of another shape than the plan's input."""
        check_channels(x.shape, self._plan._weight.shape[0])

    def result(self, x: NDArray[Any], count: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Return the shape and dtype of `count` outputs for blocks like x."""
        return (*x.shape[:-2], self._plan._filters, count), result_dtype(x.dtype, self._plan._weight.dtype)

    def write(self, x: NDArray[Any], first: int, begin: int, out: NDArray[Any]) -> None:
        """Write the outputs from `begin` on to `out`; x begins with sample `first`."""
        part = self._blocks.part(x.shape[-1], first, begin, out.shape[-1])
        plan, x, out = self._plan, gpu.with_batch(x), gpu.with_batch(out)
        check_one_place(weight=plan._weight)
        if plan._device == "cuda":
            plan._on_gpu.run(part, x, out, computed_dtype(out.dtype), None)
            return
        prepared, packed = plan._prepared_for(x.dtype)
        backend("cpu.forward").forward(prepared.layout, part, x, packed, prepared.bias, out)
