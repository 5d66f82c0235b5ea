"""MATLAB's functions for the learn rate and L2 factors of a layer's parameters.

Here belong the functions of that name alone; the factors themselves are properties of `layer.py`.
"""

from copy import copy
from typing import Any

from numba_tconv._properties import suggestion
from numba_tconv.layer import TransposedConvolution1DLayer


def _factor(parameterName: Any, kind: str) -> str:
    """Return the name of the property that holds a factor of a parameter."""
    factors = {"Weights": f"Weight{kind}", "Bias": f"Bias{kind}"}
    if parameterName not in factors:
        got = f"{parameterName!r}{suggestion(str(parameterName), factors)}"
        raise ValueError(f"parameterName must be 'Weights' or 'Bias'; got {got}")
    return factors[parameterName]


def _with(layer: TransposedConvolution1DLayer, name: str, value: Any) -> TransposedConvolution1DLayer:
    updated = copy(layer)
    setattr(updated, name, value)
    return updated


def setLearnRateFactor(
    layer: TransposedConvolution1DLayer, parameterName: str, factor: float
) -> TransposedConvolution1DLayer:
    """Return a copy of a layer with another learn rate factor; the layer itself stays as it is.

    Parameters
    ----------
    layer : TransposedConvolution1DLayer
        The layer.
    parameterName : {'Weights', 'Bias'}
        The learnable parameter.
    factor : float
        The factor of the global learn rate; finite and not negative.

    Returns
    -------
    TransposedConvolution1DLayer
        The updated copy.

    Raises
    ------
    TypeError, ValueError
        For another parameter or factor.

    Examples
    --------
    >>> from numba_tconv import getLearnRateFactor, setLearnRateFactor, transposedConv1dLayer
    >>> layer = setLearnRateFactor(transposedConv1dLayer(11, 96), "Weights", 2)
    >>> layer.WeightLearnRateFactor, getLearnRateFactor(layer, "Bias")
    (2.0, 1.0)
    """
    return _with(layer, _factor(parameterName, "LearnRateFactor"), factor)


def getLearnRateFactor(layer: TransposedConvolution1DLayer, parameterName: str) -> float:
    """Return the learn rate factor of a learnable parameter.

    Parameters
    ----------
    layer : TransposedConvolution1DLayer
        The layer.
    parameterName : {'Weights', 'Bias'}
        The learnable parameter.

    Returns
    -------
    float
        The factor.

    Raises
    ------
    ValueError
        For another parameter.
    """
    factor: float = getattr(layer, _factor(parameterName, "LearnRateFactor"))
    return factor


def setL2Factor(layer: TransposedConvolution1DLayer, parameterName: str, factor: float) -> TransposedConvolution1DLayer:
    """Return a copy of a layer with another L2 factor; the layer itself stays as it is.

    Parameters
    ----------
    layer : TransposedConvolution1DLayer
        The layer.
    parameterName : {'Weights', 'Bias'}
        The learnable parameter.
    factor : float
        The factor of the global L2 regularization; finite and not negative.

    Returns
    -------
    TransposedConvolution1DLayer
        The updated copy.

    Raises
    ------
    TypeError, ValueError
        For another parameter or factor.

    Examples
    --------
    >>> from numba_tconv import getL2Factor, setL2Factor, transposedConv1dLayer
    >>> layer = setL2Factor(transposedConv1dLayer(11, 96), "Bias", 0.5)
    >>> layer.BiasL2Factor, getL2Factor(layer, "Weights")
    (0.5, 1.0)
    """
    return _with(layer, _factor(parameterName, "L2Factor"), factor)


def getL2Factor(layer: TransposedConvolution1DLayer, parameterName: str) -> float:
    """Return the L2 factor of a learnable parameter.

    Parameters
    ----------
    layer : TransposedConvolution1DLayer
        The layer.
    parameterName : {'Weights', 'Bias'}
        The learnable parameter.

    Returns
    -------
    float
        The factor.

    Raises
    ------
    ValueError
        For another parameter.
    """
    factor: float = getattr(layer, _factor(parameterName, "L2Factor"))
    return factor
