"""What the layer's weights and biases are before anything is learned.

Here belong the named distributions and the check of what a caller's function returns. Sizes are the layer's:
FilterSize x NumFilters x NumChannels, and 1 x NumFilters.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Initializer = str | Callable[..., Any]
Size = tuple[int, ...]


def initial_weights(initializer: Initializer, size: Size, *, stride: int, rng: np.random.Generator) -> Array:
    """Return weights of the dtype float32.

    Parameters
    ----------
    initializer : str or callable
        A name of `WEIGHTS`, 'icnr', or a function ``weights = func(size)``.
    size : tuple of int
        (FilterSize, NumFilters, NumChannels).
    stride : int
        What 'icnr' makes its phases for.
    rng : numpy.random.Generator
        Where randomness comes from.

    Returns
    -------
    ndarray, (FilterSize, NumFilters, NumChannels)
        The weights.

    Raises
    ------
    ValueError
        If a function returns another shape or kind of array, and for 'icnr' with a filter shorter than the stride.
    """
    if initializer == "icnr":
        return icnr(size, stride, rng).astype(np.float32)
    short = size[:2] if size[2] == 1 else size  # MATLAB's arrays have no third axis of size 1
    return _draw("WeightsInitializer", WEIGHTS, initializer, size, short, rng)


def initial_bias(initializer: Initializer, size: Size, *, rng: np.random.Generator) -> Array:
    """Return a bias of the dtype float32.

    Parameters
    ----------
    initializer : str or callable
        A name of `BIAS`, or a function ``bias = func(size)``.
    size : tuple of int
        (1, NumFilters).
    rng : numpy.random.Generator
        Where randomness comes from.

    Returns
    -------
    ndarray, (1, NumFilters)
        The bias.

    Raises
    ------
    ValueError
        If a function returns another shape or kind of array.
    """
    return _draw("BiasInitializer", BIAS, initializer, size, size[1:], rng)


def _draw(
    name: str,
    known: dict[str, Callable[[Size, np.random.Generator], Array]],
    initializer: Initializer,
    size: Size,
    short: Size,
    rng: np.random.Generator,
) -> Array:
    if not callable(initializer):
        return known[initializer](size, rng).astype(np.float32)
    array = np.asarray(initializer(size))
    if array.shape not in (size, short) or array.dtype.kind != "f":
        raise ValueError(
            f"{name} must return a real floating-point array of the shape {size}; got {array.shape} {array.dtype}"
        )
    return array.reshape(size).astype(np.float32)


def glorot(size: Size, rng: np.random.Generator) -> Array:
    """Draw uniformly with the variance 2/(numIn + numOut): numIn = K*NumChannels, numOut = K*NumFilters.

    X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
    """
    filter_size, filters, channels = size
    bound = math.sqrt(6 / (filter_size * channels + filter_size * filters))
    return rng.uniform(-bound, bound, size)


def he(size: Size, rng: np.random.Generator) -> Array:
    """Draw normally with the variance 2/numIn: numIn = K*NumChannels.

    K. He et al., "Delving deep into rectifiers", ICCV 2015, arXiv:1502.01852.
    """
    filter_size, _, channels = size
    return rng.normal(0, math.sqrt(2 / (filter_size * channels)), size)


def narrow_normal(size: Size, rng: np.random.Generator) -> Array:
    """Draw normally with the standard deviation 0.01."""
    return rng.normal(0, 0.01, size)


def icnr(size: Size, stride: int, rng: np.random.Generator) -> Array:
    """Draw as `glorot`, and repeat every tap `stride` times: all phases of the output start equal.

    The output then starts as a filtered signal whose samples are held, without the checkerboard that phases with
    filters of their own show. Taps that not every phase could have are zero.

    A. Aitken et al., "Checkerboard artifact free sub-pixel convolution", arXiv:1707.02937.
    """
    taps = size[0] // stride
    if not taps:
        raise ValueError(f"WeightsInitializer 'icnr' needs a FilterSize of at least Stride; got {size[0]} < {stride}")
    weights = np.zeros(size)
    weights[: taps * stride] = glorot(size, rng)[:taps].repeat(stride, axis=0)
    return weights


WEIGHTS: dict[str, Callable[[Size, np.random.Generator], Array]] = {
    "glorot": glorot,
    "he": he,
    "narrow-normal": narrow_normal,
    "zeros": lambda size, rng: np.zeros(size),
    "ones": lambda size, rng: np.ones(size),
}
BIAS = {name: WEIGHTS[name] for name in ("zeros", "narrow-normal", "ones")}
SPELLINGS = {"narrownormal": "narrow-normal"}
