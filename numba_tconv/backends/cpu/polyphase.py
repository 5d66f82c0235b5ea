"""Changes of rate: which kernel serves a signal, and which a signal's neighbours.

The one way into the CPU backend for the signal face. Whatever the kernel, every output is the same chain of
multiply-adds, from the newest sample to the oldest: so its bits do not depend on which kernel has computed it, nor on
what else was computed with it. What is worked out here for shapes is kept, so that a second call pays a dictionary
look-up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, partial

import numpy as np

from numba_tconv.backends.cpu import columns, fir, rational, segments, sparse, threads
from numba_tconv.backends.cpu.forward import call_for
from numba_tconv.backends.cpu.layout import Layout, plan_layout
from numba_tconv.backends.cpu.pack import Packed, pack_phases
from numba_tconv.backends.cpu.staging import in_parts, part_dtype
from numba_tconv.backends.cpu.sums import Operands
from numba_tconv.backends.cpu.target import host
from numba_tconv.geometry import Geometry, RateChange, rate_change, window

# Nanoseconds by which `sparse.py` may be slower: it is compiled in half a second, where the others take one or two.
COMPILED_SOON = 1500
# Multiply-adds that count as a nanosecond of a `cost`: two threads begin to win at 30 us.
WORK_OF_NANOSECOND = 16


@dataclass(frozen=True, eq=False)
class _Filters:
    """What filters are, without their numbers. Equal by identity: made once."""

    dtype: np.dtype
    banks: int
    size: int
    up: int
    down: int
    x_parts: int
    is_complex: bool

    @cached_property
    def x_dtype(self) -> np.dtype:
        """The dtype of signals."""
        return self.dtype if self.x_parts == 1 else np.result_type(self.dtype, np.complex64)

    @cached_property
    def out_parts(self) -> int:
        """2 where results are complex, else 1."""
        return max(self.x_parts, 1 + self.is_complex)

    @cached_property
    def is_like_out(self) -> bool:
        """Whether results have the dtype of the signals."""
        return self.x_parts == self.out_parts

    @cached_property
    def layout(self) -> Layout:
        """How the forward pass takes filters one for each channel."""
        return plan_layout(
            self.dtype, groups=self.banks, channels=1, filters=1, filter_size=self.size, stride=self.up, dilation=1,
            x_parts=self.x_parts, weight_parts=1 + self.is_complex,
        )  # fmt: skip

    def operands(self, signals: Sequence[int], x_strides: Sequence[int], out_strides: Sequence[int]) -> Operands:
        """Return the `Operands` of signals (batch, channel, time)."""
        sets, reduced = (2, self.x_parts) if self.is_complex else (1, 1)
        plain = (
            strides[2] == parts * self.dtype.itemsize and not any(step % self.dtype.itemsize for step in strides)
            for strides, parts in ((x_strides, self.x_parts), (out_strides, self.out_parts))
        )
        batch, channels = signals
        return Operands(batch, channels, self.x_parts, self.out_parts, self.banks, sets, reduced, *plain)


_filters = lru_cache(maxsize=4096)(_Filters)


Key = tuple[tuple[int, int, int], tuple[int, int, int]]  # an array's shape and strides


class Call:
    """All of a call that its shapes decide: the kernel, its multiply-adds, its integers for some workers."""

    def __init__(
        self, kernel: Callable, dtype: np.dtype, work: int, problem: Callable[[int], tuple[np.ndarray, int, int]]
    ) -> None:
        self._kernel, self._dtype, self._work = kernel, dtype, work
        self._split = cache(problem)  # n_workers -> integers, numbers of scratch and places of a table for each worker

    def launch(self, x: np.ndarray, taps: np.ndarray, out: np.ndarray) -> None:
        """Run the kernel on arrays of four axes, of real numbers."""
        n_workers = threads.workers(self._work)
        integers, numbers, places = self._split(n_workers)
        scratch, table = np.empty(numbers * n_workers, self._dtype), np.empty(places * n_workers, np.int64)
        threads.launch(self._kernel, (x, taps, out, scratch, table, integers), n_workers)

    def run(self, x: np.ndarray, bank: "Bank", out: np.ndarray) -> None:
        """Compute `out` (batch, channel, time)."""
        self.launch(in_parts(x), bank.taps, in_parts(out))

    def run_columns(self, x: np.ndarray, bank: "Bank", out: np.ndarray) -> None:
        """Compute `out` (array, time, signal) of signals side by side; the parts of complex ones are lanes as well."""
        self.launch(x.view(self._dtype)[:, None], bank.taps, out.view(self._dtype)[:, None])


class FirCall:
    """A call of the FIR path."""

    def __init__(self, layout: Layout, x: Key, out: Key, shape: Geometry) -> None:
        (x_shape, x_strides), (_, out_strides) = x, out
        self._bias = layout.zero_bias
        self._call = call_for(layout, shape, x_shape[0], layout.x_dtype, x_strides, layout.out_dtype, out_strides, True)

    def run(self, x: np.ndarray, bank: "Bank", out: np.ndarray) -> None:
        """Compute `out` (batch, channel, time)."""
        weights = bank.packed.panels if self._call.takes_packed else bank.packed.flat
        self._call.run(x, weights, self._bias, out)


def _columns_call(filters: _Filters, change: RateChange, arrays: int, signals: int) -> Call:
    """Return the call for arrays (array, time, signal)."""
    parts, lanes = 1 + filters.is_complex, signals * filters.x_parts
    work = arrays * change.output_length * lanes * change.taps_per_phase * parts
    kernel = columns.kernel(filters.dtype, parts)
    return Call(kernel, filters.dtype, work, partial(columns.problem, change, arrays, lanes))


def _sparse_call(filters: _Filters, change: RateChange, operands: Operands, cost: float) -> Call:
    """Return the call that sums number by number."""
    kernel = sparse.kernel(filters.dtype, operands.sets, operands.reduced)
    return Call(kernel, filters.dtype, int(WORK_OF_NANOSECOND * cost), partial(sparse.problem, change, operands))


@lru_cache(maxsize=4096)
def _call(filters: _Filters, left: int, x: Key, out: Key) -> Call | FirCall:
    """Choose what takes the least time for signals (batch, channel, time).

    Each kernel says how many nanoseconds one core takes, fitted to 4,000 random calls in four dtypes (a Xeon). Of all
    of these, the choice takes 1.02 times as long as the best one would.
    """
    (x_shape, x_strides), (out_shape, out_strides) = x, out
    change = rate_change(x_shape[2], filters.size, filters.up, filters.down, left, out_shape[2])
    operands = filters.operands(out_shape[:2], x_strides, out_strides)
    lanes = host().lanes(filters.dtype.itemsize)
    costs = {sparse: sparse.cost(change, operands), rational: rational.cost(change, operands, lanes)}
    if segments.serves(change, operands, lanes):
        costs[segments] = segments.cost(change, operands, lanes)
    if filters.down == 1 and filters.layout.is_fir:
        shape = window(x_shape[2], filters.size, filters.up, 1, left, out_shape[2])
        costs[fir] = fir.cost(filters.layout, shape, x_shape[0] * x_shape[1]) if filters.banks == 1 else 0.0
    path = min(costs, key=lambda module: costs[module] - (COMPILED_SOON if module is sparse else 0))
    if path is fir:
        return FirCall(filters.layout, x, out, shape)
    if path is sparse:
        return _sparse_call(filters, change, operands, costs[sparse])
    work = rational.work(change, operands) if path is rational else int(WORK_OF_NANOSECOND * costs[path])
    problem = partial(path.problem, change, operands, lanes)
    return Call(path.kernel(filters.dtype), filters.dtype, work, problem)


@lru_cache(maxsize=4096)
def _call_side_by_side(filters: _Filters, left: int, x: Key, out: Key) -> tuple[Call, bool]:
    """Return the call for signals side by side (array, time, signal), and whether it takes them as columns."""
    (arrays, length, signals), _ = x
    change = rate_change(length, filters.size, filters.up, filters.down, left, out[0][1])
    (x_n, x_t, x_s), (out_n, out_t, out_s) = x[1], out[1]
    operands = filters.operands((arrays, signals), (x_n, x_s, x_t), (out_n, out_s, out_t))
    lanes = host().lanes(filters.dtype.itemsize)
    cost = sparse.cost(change, operands)
    if cost < columns.cost(change, operands, lanes):
        return _sparse_call(filters, change, operands, cost), False
    return _columns_call(filters, change, arrays, signals), True


class Bank:
    """Filters (bank, tap) between two rates, packed for real or complex inputs and results of a `dtype`."""

    def __init__(self, h: np.ndarray, up: int, down: int, dtype: np.dtype, *, is_complex: bool) -> None:
        self._filters = _filters(part_dtype(dtype), *h.shape, up, down, 1 + is_complex, h.dtype.kind == "c")
        self._h = h

    @cached_property
    def taps(self) -> np.ndarray:
        """The filters by phases."""
        return pack_phases(self._h, self._filters.up, self._filters.dtype, self._filters.x_parts)

    @cached_property
    def packed(self) -> Packed:
        """The filters as the FIR path takes them."""
        return Packed(self._filters.layout, self._h[:, None])

    def run(self, x: np.ndarray, left: int, out: np.ndarray) -> None:
        """Write the outputs at `left`, `left + down`, ... of the full one to `out`.

        x and out are (batch, channel, time), out not empty; one filter is for all channels, several are one for each.
        """
        filters = self._filters
        if x.dtype is not filters.x_dtype and x.dtype != filters.x_dtype:
            # One pass more; kernels for every dtype would be compiled for a second each.
            x = x.astype(filters.x_dtype)
        _call(filters, left, (x.shape, x.strides), (out.shape, out.strides)).run(x, self, out)

    def run_columns(self, x: np.ndarray, left: int, out: np.ndarray) -> bool:
        """`run` for arrays (array, time, signal) and one filter.

        Returns False, with nothing done, where the signals side by side do not fill a vector.
        """
        filters = self._filters
        if not (filters.is_like_out and columns.serves(out, filters.dtype)):
            return False
        x = np.ascontiguousarray(x, out.dtype)
        call, takes_columns = _call_side_by_side(filters, left, (x.shape, x.strides), (out.shape, out.strides))
        if takes_columns:
            call.run_columns(x, self, out)
        else:
            call.run(x.swapaxes(1, 2), self, out.swapaxes(1, 2))
        return True
