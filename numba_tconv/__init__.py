"""Fast 1-D transposed convolution for NumPy arrays, compiled by Numba.

Here belong the public names and nothing else. They load on first use: importing the package loads no other one, so
scripts that import it and do not call it pay nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numba_tconv.functional import ConvTranspose1d, conv_transpose1d

__version__ = "0.1.0"
__all__ = ["ConvTranspose1d", "conv_transpose1d"]

_HOMES = {"ConvTranspose1d": "functional", "conv_transpose1d": "functional"}

# Type checkers must not see this: they would take it for a promise that every name exists.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
