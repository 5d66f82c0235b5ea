"""The layer's data formats: labels that name the axes of an array, in any order, and xarray's named dimensions.

Here belongs how an array with labelled axes becomes the (batch, in_channels, length) that the engine takes, and back.
Labels are MATLAB's: S spatial, C channel, B batch (observations), T time.

===========  ==============  ===============================================
format       upsampled axis  axes carried along
===========  ==============  ===============================================
CBT, CT      T               B
SCB, SC      S               B
SCBT, SCT    S               B and T: every time step is an observation more
===========  ==============  ===============================================
"""

import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from numpy.typing import NDArray

FORMATS = ("CBT", "SCB", "SCBT", "CT", "SC", "SCT")

# One label for each axis; for a DataArray also a mapping from dims to labels, or nothing where the dims are labels.
Format = str | Mapping[Any, str] | None


class Layout(NamedTuple):
    """Where the axes of an array with labels go.

    Attributes
    ----------
    labels : str
        The labels of the array's axes.
    order : str
        The labels in the engine's order: what is carried along, the channels, what is upsampled.
    axes, inverse : tuple of int
        The transposition into that order, and the one back.
    """

    labels: str
    order: str
    axes: tuple[int, ...]
    inverse: tuple[int, ...]

    def to_engine(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return `X` as (batch, in_channels, length) or (in_channels, length), a view if one can be had."""
        x = X.transpose(self.axes)
        return x if x.ndim < 4 else x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])

    def from_engine(self, y: NDArray[Any], X: NDArray[Any]) -> NDArray[Any]:
        """Return a view of (batch, out_channels, output_length) with the axes of `X`."""
        if X.ndim == 4:
            y = y.reshape(*(X.shape[axis] for axis in self.axes[:2]), *y.shape[1:])
        return y.transpose(self.inverse)

    def output_shape(self, X: NDArray[Any], filters: int, length: int) -> tuple[int, ...]:
        """Return the shape of an output with the axes of `X`."""
        changed = dict(zip(self.axes[-2:], (filters, length), strict=True))
        return tuple(changed.get(axis, size) for axis, size in enumerate(X.shape))


@lru_cache(maxsize=256)
def _layout(labels: str, order: str) -> Layout:
    axes = tuple(labels.index(label) for label in order)
    return Layout(labels, order, axes, tuple(order.index(label) for label in labels))


@lru_cache(maxsize=256)
def check_labels(labels: str) -> Layout:
    """Return how labelled axes map, or raise for labels that are not one of the formats."""
    if not any(sorted(labels) == sorted(known) for known in FORMATS):
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, in any order of the labels; got {labels!r}")
    upsampled = "S" if "S" in labels else "T"
    return _layout(labels, "".join(label for label in labels if label not in ("C", upsampled)) + "C" + upsampled)


def layout_of(X: NDArray[Any], labels: Any) -> Layout:
    """Return the layout of an array.

    Parameters
    ----------
    X : ndarray
        The array; where B and T are both carried along, its strides tell which of them comes first, so that joining
        the two takes no copy where none is needed.
    labels : str
        One label for each axis of `X`.

    Returns
    -------
    Layout
        How the axes map.

    Raises
    ------
    TypeError, ValueError
        For what is no text, for labels that are unknown, missing or repeated, and for another number of axes.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_tconv.formats import layout_of
    >>> layout = layout_of(np.zeros((5, 2, 3)), "TCB")
    >>> layout.order, layout.to_engine(np.zeros((5, 2, 3))).shape
    ('BCT', (3, 2, 5))
    """
    if not isinstance(labels, str):
        raise TypeError(f"format must be a text, one of {', '.join(FORMATS)} in any order; got {labels!r}")
    layout = check_labels(labels)
    if X.ndim != len(labels):
        raise ValueError(
            f"format must have one label for each of the {X.ndim} axes of X {X.shape}; got {labels!r} "
            f"(the formats are {', '.join(FORMATS)})"
        )
    if X.ndim == 4 and X.strides[layout.axes[0]] < X.strides[layout.axes[1]]:
        return _layout(labels, layout.order[1::-1] + layout.order[2:])
    return layout


def is_data_array(X: Any) -> bool:
    """Whether `X` is an `xarray.DataArray`; one can exist only where xarray has been imported."""
    xarray = sys.modules.get("xarray")
    return xarray is not None and isinstance(X, xarray.DataArray)


def labels_of_dims(X: Any, format: Format) -> str:
    """Return the labels of the axes of an `xarray.DataArray`.

    Parameters
    ----------
    X : xarray.DataArray
        Signals.
    format : str, mapping or None
        The labels in the order of the dims; or the label of each dim that is not a label itself; or nothing, where all
        of them are.

    Returns
    -------
    str
        One label for each axis.

    Raises
    ------
    ValueError
        For dims that are no labels and are mapped to none.
    """
    if isinstance(format, str):
        return format
    labels = [(format or {}).get(dim, dim) for dim in X.dims]
    if any(label not in ("S", "C", "B", "T") for label in labels):
        raise ValueError(
            f"format must map the dims {X.dims} to the labels S, C, B and T, such as {{'time': 'T'}}; got {format!r}"
        )
    return "".join(labels)


def like_data_array(y: NDArray[Any], X: Any, labels: str) -> Any:
    """Return the layer's output for a DataArray as one: the same dims, name, attributes and coordinates.

    Coordinates of the channels and of the upsampled axis are left out: they belong to the input's samples.

    Parameters
    ----------
    y : ndarray
        The output, its axes as those of `X`.
    X : xarray.DataArray
        The input.
    labels : str
        The labels of the axes.

    Returns
    -------
    xarray.DataArray
        The output with names.
    """
    changed = [dim for dim, label in zip(X.dims, labels, strict=True) if label in check_labels(labels).order[-2:]]
    coords = X.coords.to_dataset().drop_dims(changed, errors="ignore").coords
    return type(X)(y, dims=X.dims, coords=coords, name=X.name, attrs=X.attrs)
