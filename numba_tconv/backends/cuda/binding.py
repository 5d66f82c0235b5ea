"""Kernels bound to the integers of a problem: all that is left to a call is where its arrays begin.

Numba's own launch looks up the type of every argument and converts every integer: 0.35 ms for the 45 of a contraction,
on a machine where the whole of PyTorch's call takes 0.035. So launches are bound once, kept, and go straight to
`cuda.core`, as Numba's do in the end. What knows of Numba's insides is here, and nowhere else.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from numba_tconv.backends.cuda import memory
from numba_tconv.backends.cuda.compiler import PACKAGE, SIMULATED, configured, number, types
from numba_tconv.compiling import without_garbage_collection

# Takes the addresses of all arrays' first samples, and a stream.
Launch = Callable[[tuple[int, ...], Any], None]

if not SIMULATED:
    from cuda.core import LaunchConfig, Stream, launch


class Memory(NamedTuple):
    """The flat memory of an array as kernels take it: its numbers, and the bytes that lie before the first sample."""

    dtype: np.dtype
    size: int
    before: int = 0


@lru_cache(maxsize=1024)
def bind(kernel: Any, blocks: int, threads: int, memories: tuple[Memory, ...], problem: Any, device: int) -> Launch:
    """Return the launch of a kernel on a GPU, compiled if need be; the arguments are the memories and the problem."""
    if SIMULATED or PACKAGE != "numba":
        return lambda addresses, stream: configured(kernel, blocks, threads, stream)(
            *(
                memory.typed(address - before, size, dtype)
                for address, (dtype, size, before) in zip(addresses, memories, strict=True)
            ),
            problem,
        )
    signature = (*(types.Array(number(m.dtype), 1, "C") for m in memories), kernel.typeof_pyval(problem))
    with without_garbage_collection():
        function = kernel.compile(signature)._codelibrary.get_cufunc().kernel
    config = LaunchConfig(grid=blocks, block=threads)
    integers = tuple(problem)
    # Numba's kernels take of an array: two pointers of its own, the number of samples, the size of one, the address,
    # the shape and the strides.
    heads = [(0, 0, size, dtype.itemsize) for dtype, size, _ in memories]
    tails = [(size, dtype.itemsize) for dtype, size, _ in memories]
    befores = [before for _, _, before in memories]

    def call(addresses: tuple[int, ...], stream: Any) -> None:
        arguments: list[int] = []
        for address, before, head, tail in zip(addresses, befores, heads, tails, strict=True):
            arguments += head
            arguments.append(address - before)
            arguments += tail
        launch(_core_stream(stream), config, function, *arguments, *integers)

    return call


@cache
def _core_stream(stream: Any) -> Any:
    return Stream.from_handle(int(stream.handle) if stream else 0)
