"""The arguments of an operator: arrays, options and dtypes, checked before anything is computed.

Here belongs what the functions of the forward and of the backward pass share, and every message about an array that is
read.

Where the caller says that they may, lazy arrays pass, and arrays on a GPU as a `DeviceArray`: both have a shape and a
dtype as NumPy's have, and go by its type.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_tconv.device_array import DeviceArray, as_device_array, is_on_gpu
from numba_tconv.geometry import Padding, as_integer, as_padding

_DTYPES = frozenset("?bBhHiIlLqQefdFD")


class Options(NamedTuple):
    """The options of an operator, checked."""

    stride: int
    padding: tuple[int, int] | str
    output_padding: int
    groups: int
    dilation: int


def check_options(stride: int, padding: Padding, output_padding: int, groups: int, dilation: int) -> Options:
    """Return the options, checked one by one."""
    return Options(
        as_integer("stride", stride, 1),
        as_padding(padding),
        as_integer("output_padding", output_padding, 0),
        as_integer("groups", groups, 1),
        as_integer("dilation", dilation, 1),
    )


def as_array(name: str, value: Any, *, may_be_lazy: bool = False, may_be_on_gpu: bool = False) -> NDArray[Any]:
    """Return `value` as an aligned array of a native dtype that is computed with.

    Where the caller says so it may be a lazy array of such blocks, or a `DeviceArray`.
    """
    if type(value) is np.ndarray:
        array = value
    elif is_on_gpu(value):
        if not may_be_on_gpu:
            raise TypeError(f"{name} must be in host memory; got {type(value).__name__} on a GPU")
        there: Any = value if isinstance(value, DeviceArray) else as_device_array(name, value)
        return there  # type: ignore[no-any-return]
    elif isinstance(value, np.ma.MaskedArray):  # asarray would drop the mask
        raise _dtype_error(name, "a masked array")
    elif may_be_lazy and type(value).__module__.startswith("dask.array"):  # Dask itself is not imported here
        return _as_lazy_array(name, value)  # type: ignore[no-any-return]
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


def _as_lazy_array(name: str, value: Any) -> Any:
    """Return a `dask.array` whose blocks `as_array` will take."""
    if type(value._meta) is not np.ndarray:
        raise _dtype_error(name, f"a dask.array of {type(value._meta).__name__}")
    if value.dtype.char not in _DTYPES:
        raise _dtype_error(name, value.dtype)
    if any(size != size for size in value.shape):
        raise ValueError(
            f"{name} must have known chunk sizes, see its compute_chunk_sizes(); got the shape {value.shape}"
        )
    return value


def is_lazy(array: Any) -> bool:
    """Whether what `as_array` has passed is a `dask.array`."""
    return not isinstance(array, (np.ndarray, DeviceArray))


def check_one_place(**arrays: Any) -> None:
    """Refuse arrays on a GPU beside an `x` in host memory."""
    for name, array in arrays.items():
        if isinstance(array, DeviceArray):
            raise TypeError(f"{name} must be in host memory where x is; got {type(array.owner).__name__} on a GPU")


def check_stream(stream: Any, x: Any) -> int | None:
    """Return the address of the CUDA stream that a call with `x` is put on."""
    if stream is None:
        return x.stream if isinstance(x, DeviceArray) else None
    if not isinstance(x, DeviceArray):
        raise TypeError(f"stream must be left out where x is in host memory; got {stream!r}")
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    for attribute in ("cuda_stream", "ptr"):  # PyTorch's and CuPy's, of versions without the protocol
        stream = getattr(stream, attribute, stream)
    return as_integer("stream", stream, 0)


def _dtype_error(name: str, got: object) -> TypeError:
    return TypeError(f"{name} must be an array of bool, integer, float16/32/64 or complex64/128; got {got}")


def check_weight(weight: ArrayLike, options: Options) -> NDArray[Any]:
    """Return `weight` as (in_channels, out_channels // groups, filter_size)."""
    array = as_array("weight", weight, may_be_on_gpu=True)
    check_weight_shape(array.shape, options.groups)
    return array


def check_weight_shape(shape: tuple[int, ...], groups: int) -> None:
    """Refuse what is no shape of weights."""
    if len(shape) != 3 or 0 in shape:
        raise ValueError(
            f"weight must have the shape (in_channels, out_channels // groups, filter_size), no size 0; got {shape}"
        )
    if shape[0] % groups:
        raise ValueError(f"groups must divide the {shape[0]} input channels of weight; got {groups}")


def check_bias(bias: ArrayLike | None, weight: NDArray[Any], groups: int) -> NDArray[Any] | None:
    """Return `bias` as (out_channels,), or None."""
    if bias is None:
        return None
    array = as_array("bias", bias, may_be_on_gpu=True)
    if array.shape != (weight.shape[1] * groups,):
        raise ValueError(f"bias must have the shape (out_channels,) = ({weight.shape[1] * groups},); got {array.shape}")
    if type(array) is not np.ndarray and is_on_gpu(array):
        if not is_on_gpu(weight):
            raise TypeError(f"bias must be in host memory where weight is; got {type(bias).__name__} on a GPU")
        if array.size > 1 and array.strides[0] != array.dtype.itemsize:
            raise ValueError(f"bias on a GPU must be contiguous; got the strides {array.strides}")
    return array


def check_x(x: ArrayLike, in_channels: int) -> NDArray[Any]:
    """Return `x` as (batch, in_channels, length) or (in_channels, length)."""
    array = as_array("x", x, may_be_on_gpu=True)
    check_x_shape(array.shape, in_channels)
    return array


def check_x_shape(shape: tuple[int, ...], in_channels: int) -> None:
    """Refuse what is no shape of signals."""
    check_channels(shape, in_channels)
    if shape[-1] == 0:
        raise ValueError(f"x must have at least one sample; got the shape {shape}")


def check_channels(shape: tuple[int, ...], in_channels: int) -> None:
    """`check_x_shape`, for any number of samples."""
    if len(shape) not in (2, 3):
        raise ValueError(f"x must have the shape (batch, in_channels, length) or (in_channels, length); got {shape}")
    if shape[-2] != in_channels:
        raise ValueError(f"weight has {in_channels} input channels, x has {shape[-2]} (shape {shape})")


def looked_up(check: Any, *arguments: Any) -> Any:
    """Return what a cached check says, and what cannot be looked up is refused by the check itself: a better word."""
    try:
        return check(*arguments)
    except TypeError:
        return check.__wrapped__(*arguments)


@cache
def result_dtype(x: np.dtype[Any], weight: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the output."""
    dtype: np.dtype[Any] = np.result_type(x, weight)
    return np.result_type(dtype, np.float32) if dtype.kind in "biu" else dtype


@cache
def computed_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the real dtype that a result of `dtype` is computed in."""
    return np.dtype(np.float64 if dtype.char in "dD" else np.float32)
