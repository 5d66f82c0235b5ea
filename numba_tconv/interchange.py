"""Weights from and to PyTorch and Keras: permutations of axes, nothing else. No filter is flipped.

==============================  ===================================  ==================================
where                           axes                                 here
==============================  ===================================  ==================================
MATLAB, `layer.Weights`         FilterSize, NumFilters, NumChannels  as it is
Keras, `Conv1DTranspose`        kernel_size, filters, input channel  `from_keras_weight`, as it is
PyTorch, `ConvTranspose1d`      in_channels, out_channels, kernel    `from_torch_weight`, axes reversed
`numba_tconv.ConvTranspose1d`   in_channels, out_channels, filter    as PyTorch
==============================  ===================================  ==================================
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def _as_weight(weight: Any, axes: str) -> NDArray[Any]:
    """Return a weight as an array; a tensor that takes part in training is detached from it."""
    if hasattr(weight, "detach"):
        weight = weight.detach().cpu()
    array = np.asarray(weight)
    if array.ndim != 3:
        raise ValueError(f"weight must have the axes ({axes}); got the shape {array.shape}")
    return array


def from_torch_weight(weight: Any) -> NDArray[Any]:
    """Return `Weights` for the layer from the weight of a `torch.nn.ConvTranspose1d` with one group.

    Parameters
    ----------
    weight : array_like or torch.Tensor, (in_channels, out_channels, kernel_size)
        PyTorch's weight.

    Returns
    -------
    ndarray, (FilterSize, NumFilters, NumChannels)
        The same numbers; a view where `weight` is an array or on the CPU.

    Raises
    ------
    ValueError
        If `weight` has not three axes.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_tconv import from_torch_weight
    >>> from_torch_weight(np.zeros((64, 96, 11))).shape
    (11, 96, 64)
    """
    return _as_weight(weight, "in_channels, out_channels, kernel_size").transpose(2, 1, 0)


def to_torch_weight(Weights: Any) -> NDArray[Any]:
    """Return the weight for a `torch.nn.ConvTranspose1d`, or for `conv_transpose1d`, from the layer's `Weights`.

    Parameters
    ----------
    Weights : array_like, (FilterSize, NumFilters, NumChannels)
        The layer's weights.

    Returns
    -------
    ndarray, (in_channels, out_channels, kernel_size)
        The same numbers, a view; read-only where `Weights` is, so take ``torch.tensor(...)``, which copies.

    Raises
    ------
    ValueError
        If `Weights` has not three axes.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_tconv import to_torch_weight
    >>> to_torch_weight(np.zeros((11, 96, 64))).shape
    (64, 96, 11)
    """
    return _as_weight(Weights, "FilterSize, NumFilters, NumChannels").transpose(2, 1, 0)


def from_keras_weight(kernel: Any) -> NDArray[Any]:
    """Return `Weights` for the layer from the kernel of a Keras `Conv1DTranspose`, which has the same axes.

    Parameters
    ----------
    kernel : array_like or keras.Variable, (kernel_size, filters, input_channels)
        Keras' kernel.

    Returns
    -------
    ndarray, (FilterSize, NumFilters, NumChannels)
        The same numbers; a view where `kernel` is an array.

    Raises
    ------
    ValueError
        If `kernel` has not three axes.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_tconv import from_keras_weight
    >>> from_keras_weight(np.zeros((11, 96, 64))).shape
    (11, 96, 64)
    """
    return _as_weight(kernel, "kernel_size, filters, input_channels")


def to_keras_weight(Weights: Any) -> NDArray[Any]:
    """Return the kernel for a Keras `Conv1DTranspose` from the layer's `Weights`, which has the same axes.

    Parameters
    ----------
    Weights : array_like, (FilterSize, NumFilters, NumChannels)
        The layer's weights.

    Returns
    -------
    ndarray, (kernel_size, filters, input_channels)
        The same numbers, a view; read-only where `Weights` is.

    Raises
    ------
    ValueError
        If `Weights` has not three axes.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_tconv import to_keras_weight
    >>> to_keras_weight(np.zeros((11, 96, 64))).shape
    (11, 96, 64)
    """
    return _as_weight(Weights, "FilterSize, NumFilters, NumChannels")
