"""Dask: a lazy array in gives a lazy array out, cut along any axis, time included.

Here belongs which outputs each chunk of a signal gives and what it needs of its neighbours; what filters a chunk comes
from above as a function. Building a graph computes and compiles nothing.

A chunk gives the outputs whose newest sample lies in it, the last chunk also those behind the signal. So nothing is
needed of the chunk behind, and of the one before only the halo, those last samples that the filter still sees::

    chunks of x      |------- 0 -------|------- 1 -------|--- 2 ---|
    chunk 1 reads                 |halo|-------1---------|
    chunks of y      |--------- 0 ---------|-------- 1 --------|------ 2 ------|
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_tconv.arguments import as_array
from numba_tconv.axes import along, resized
from numba_tconv.boundaries import extended

LazyArray = Any  # dask.array.Array; Dask is optional
Chunks = tuple[tuple[int, ...], ...]


class Run(NamedTuple):
    """The outputs of one chunk: the place of the first in the chunk's own full output, and how many."""

    left: int
    size: int


def filtered(
    compute: Callable[..., NDArray[Any]],
    x: LazyArray,
    *filters: Any,
    axis: int,
    rates: tuple[int, int],
    halo: int,
    run: Run,
    dtype: np.dtype[Any],
    chunks: Chunks,
    **options: Any,
) -> LazyArray:
    """Return the outputs `run` of a signal that is zero beyond its ends, lazily.

    Parameters
    ----------
    compute : callable
        ``compute(block, *filters, run, **options)`` returns the outputs `run` of a block's own.
    x : dask.array
        The signal, of known chunk sizes.
    *filters : ndarray or dask.array
        Handed to `compute`; a dask.array block by block, its last axes beside those of `x`.
    axis : int
        Time, negative.
    rates : (int, int)
        Up and down: outputs `n` have the places ``run.left + down*n``, samples `i` the places ``up*i``.
    halo : int
        Samples before its newest one that an output sees.
    run : Run
        The outputs.
    dtype : np.dtype
        Of the result.
    chunks : tuple of tuples
        Of the result; those along `axis` are put in here.
    **options
        Handed to `compute`.

    Returns
    -------
    dask.array
        The outputs. Chunks of `x` that are shorter than the halo or give no output have been merged with their
        neighbours.
    """
    import dask.array as da
    from dask.array.overlap import overlap

    up, down = rates
    last = (run.left + (run.size - 1) * down) // up
    start = min(max(0, run.left // up - halo), x.shape[axis] - 1)
    x = x[along(axis, start, max(start, min(last, x.shape[axis] - 1)) + 1)]
    run = run._replace(left=run.left - start * up)
    sizes, runs = _cut(x.chunks[axis], rates, halo, run)
    x = x.rechunk({axis: sizes})
    if len(sizes) > 1 and halo:
        x = overlap(x, {axis % x.ndim: (halo, 0)}, "none", allow_rechunk=False)
    chunks = resized(chunks, axis, tuple(run.size for run in runs))
    # With the meta given, Dask calls nothing to find it out.
    return da.map_blocks(
        _block, x, *filters, chunks=chunks, dtype=dtype, meta=np.empty((0,) * len(chunks), dtype),
        compute=compute, axis=axis, runs=runs, options=options,
    )  # fmt: skip


def _cut(chunks: tuple[int, ...], rates: tuple[int, int], halo: int, run: Run) -> tuple[tuple[int, ...], list[Run]]:
    """Merge chunks until each has the halo of the next one and an output of its own; return their sizes and outputs."""
    up, down = rates
    inputs, outputs = [0], [0]
    end = 0
    for size in chunks:
        end += size
        stop = min(run.size, -((run.left - end * up) // down))
        if end - inputs[-1] >= max(halo, 1) and stop > outputs[-1]:
            inputs.append(end)
            outputs.append(stop)
    # What is left over belongs to the last chunk.
    inputs[max(1, len(inputs) - 1) :], outputs[max(1, len(outputs) - 1) :] = [end], [run.size]
    runs = [
        Run(run.left + first * down - max(0, start - halo) * up, stop - first)
        for start, (first, stop) in zip(inputs, pairwise(outputs), strict=False)
    ]
    return tuple(b - a for a, b in pairwise(inputs)), runs


def _block(
    block: NDArray[Any],
    *filters: NDArray[Any],
    compute: Callable[..., NDArray[Any]],
    axis: int,
    runs: list[Run],
    options: dict[str, Any],
    block_id: tuple[int, ...],
) -> NDArray[Any]:
    """Compute a chunk on this thread alone: Dask's workers are as many threads as the machine has."""
    from numba_tconv.backends.cpu.threads import one_thread

    with one_thread():
        return compute(as_array("x", block), *filters, run=runs[block_id[axis]], **options)


def bank(h: NDArray[Any], x: LazyArray, axis: int) -> tuple[Any, Chunks]:
    """Return filters (..., taps) cut as the axes of `x` that they belong to, and the chunks of what they make of it.

    Taps take the place of time, so that blocks of both stand side by side.
    """
    if h.ndim == 1:
        return h, x.chunks
    import dask.array as da

    beside = np.moveaxis(h.reshape((1,) * (x.ndim - h.ndim) + h.shape), -1, axis)
    missing = beside.ndim - x.ndim
    signal = (*((1,),) * missing, *x.chunks)
    chunks = tuple(
        cut if size > 1 and sum(cut) > 1 and k != beside.ndim + axis else (size,)
        for k, (size, cut) in enumerate(zip(beside.shape, signal, strict=True))
    )
    result = tuple(own if sum(own) > 1 else cut for own, cut in zip(chunks, signal, strict=True))
    return da.from_array(beside, chunks=chunks), result


def continued(
    x: LazyArray, axis: int, before: int, after: int, dtype: np.dtype[Any], mode: str, cval: complex
) -> LazyArray:
    """Return `x` with some samples before and after it, as `boundaries.extended` makes them up.

    They depend on samples close to the two ends alone: these are brought together, without what lies between.
    """
    import dask.array as da

    length, near = x.shape[axis], max(before, after) + 2
    ends = x
    if length > 2 * near:
        ends = da.concatenate([x[along(axis, 0, near)], x[along(axis, length - near, length)]], axis)
    ends = ends.rechunk({axis: -1})

    def beyond(start: int, stop: int) -> LazyArray:
        return ends.map_blocks(
            _beyond, chunks=resized(ends.chunks, axis, (stop - start,)), dtype=dtype,
            meta=np.empty((0,) * x.ndim, dtype), axis=axis, start=start, stop=stop, result_dtype=dtype, mode=mode,
            cval=cval, length=length,
        )  # fmt: skip

    size = ends.shape[axis]
    return da.concatenate([beyond(-before, 0), x.astype(dtype), beyond(size, size + after)], axis)


def _beyond(
    block: NDArray[Any],
    *,
    axis: int,
    start: int,
    stop: int,
    result_dtype: np.dtype[Any],
    mode: str,
    cval: complex,
    length: int,
) -> NDArray[Any]:
    return extended(as_array("x", block), axis, start, stop, result_dtype, mode, cval, length)
