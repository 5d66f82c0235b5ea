"""Fast 1-D transposed convolution for NumPy arrays, compiled by Numba.

Here belong the public names and nothing else. They load on first use: importing the package loads no other one, so
scripts that import it and do not call it pay nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numba_tconv.functional import ConvTranspose1d, conv_transpose1d
    from numba_tconv.gradients import conv_transpose1d_backward
    from numba_tconv.interchange import from_keras_weight, from_torch_weight, to_keras_weight, to_torch_weight
    from numba_tconv.layer import (
        TransposedConvolution1DLayer,
        getL2Factor,
        getLearnRateFactor,
        properties,
        setL2Factor,
        setLearnRateFactor,
        transposedConv1dLayer,
    )
    from numba_tconv.resampling import resample_poly, upfirdn

__version__ = "0.1.0"
__all__ = [
    "ConvTranspose1d",
    "TransposedConvolution1DLayer",
    "conv_transpose1d",
    "conv_transpose1d_backward",
    "from_keras_weight",
    "from_torch_weight",
    "getL2Factor",
    "getLearnRateFactor",
    "properties",
    "resample_poly",
    "setL2Factor",
    "setLearnRateFactor",
    "to_keras_weight",
    "to_torch_weight",
    "transposedConv1dLayer",
    "upfirdn",
]

_HOMES = {
    "ConvTranspose1d": "functional",
    "TransposedConvolution1DLayer": "layer",
    "conv_transpose1d": "functional",
    "conv_transpose1d_backward": "gradients",
    "from_keras_weight": "interchange",
    "from_torch_weight": "interchange",
    "getL2Factor": "layer",
    "getLearnRateFactor": "layer",
    "properties": "layer",
    "resample_poly": "resampling",
    "setL2Factor": "layer",
    "setLearnRateFactor": "layer",
    "to_keras_weight": "interchange",
    "to_torch_weight": "interchange",
    "transposedConv1dLayer": "layer",
    "upfirdn": "resampling",
}

# Type checkers must not see this: they would take it for a promise that every name exists.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
