"""Fast 1-D transposed convolution for NumPy arrays, compiled by Numba.

Here belong the public names and nothing else. They load on first use: importing the package loads no other one, so
scripts that import it and do not call it pay nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numba_tconv.factors import getL2Factor, getLearnRateFactor, setL2Factor, setLearnRateFactor
    from numba_tconv.functional import ConvTranspose1d, conv_transpose1d
    from numba_tconv.gradients import conv_transpose1d_backward
    from numba_tconv.interchange import from_keras_weight, from_torch_weight, to_keras_weight, to_torch_weight
    from numba_tconv.layer import TransposedConvolution1DLayer, properties, transposedConv1dLayer
    from numba_tconv.options import trainingOptions
    from numba_tconv.resampling import Upsampler, resample_poly, upfirdn
    from numba_tconv.solvers import adamupdate, rmspropupdate, sgdmupdate
    from numba_tconv.training import DivergedError, trainnet

__version__ = "0.1.0"
__all__ = [
    "ConvTranspose1d",
    "DivergedError",
    "TransposedConvolution1DLayer",
    "Upsampler",
    "adamupdate",
    "conv_transpose1d",
    "conv_transpose1d_backward",
    "from_keras_weight",
    "from_torch_weight",
    "getL2Factor",
    "getLearnRateFactor",
    "properties",
    "resample_poly",
    "rmspropupdate",
    "setL2Factor",
    "setLearnRateFactor",
    "sgdmupdate",
    "to_keras_weight",
    "to_torch_weight",
    "trainingOptions",
    "trainnet",
    "transposedConv1dLayer",
    "upfirdn",
]

_HOMES = {
    "ConvTranspose1d": "functional",
    "DivergedError": "training",
    "TransposedConvolution1DLayer": "layer",
    "Upsampler": "resampling",
    "adamupdate": "solvers",
    "conv_transpose1d": "functional",
    "conv_transpose1d_backward": "gradients",
    "from_keras_weight": "interchange",
    "from_torch_weight": "interchange",
    "getL2Factor": "factors",
    "getLearnRateFactor": "factors",
    "properties": "layer",
    "resample_poly": "resampling",
    "rmspropupdate": "solvers",
    "setL2Factor": "factors",
    "setLearnRateFactor": "factors",
    "sgdmupdate": "solvers",
    "to_keras_weight": "interchange",
    "to_torch_weight": "interchange",
    "trainingOptions": "options",
    "trainnet": "training",
    "transposedConv1dLayer": "layer",
    "upfirdn": "resampling",
}

# Type checkers must not see this: they would take it for a promise that every name exists.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        # Kept, or every `numba_tconv.upfirdn` would take 1.2 us, a tenth of a small call.
        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
