"""What the intrinsics of the CPU kernels mean, in plain Python: with `NUMBA_DISABLE_JIT=1` the kernels run by these.

Each is written from the formula in its docstring, and knows nothing of vectors and how LLVM is told of them. Memory is
checked: whatever is read or written has to lie within an array that the kernel was given.
"""

import ctypes

import numpy as np
from numba.core import extending

from numba_tconv.backends.cpu import products, staging, threads
from numba_tconv.device_array import extent

_known: dict[tuple[int, int], np.ndarray] = {}


def forget():
    """Forget all arrays: their memory may be another's soon."""
    _known.clear()


def address(array):
    start = array.__array_interface__["data"][0]
    if array.size:
        low, high = extent(array.shape, array.strides, array.itemsize)
        _known[start + low, start + high] = array
    return start


def view(start, count, dtype):
    """Return the `count` numbers from an address on."""
    size = int(count) * np.dtype(dtype).itemsize
    assert any(low <= start and start + size <= high for low, high in _known), f"{size} bytes at {start} are nobody's"
    return np.frombuffer((ctypes.c_char * size).from_address(int(start)), dtype)


def numbers(array, at, count):
    """Return `count` numbers of an array's memory, from so many behind its first one on."""
    return view(address(array) + int(at) * array.itemsize, count, array.dtype) if count > 0 else array.ravel()[:0]


def integers_at(start):
    end = next(high for low, high in _known if low <= start < high)
    return view(start, (end - start) // 8, np.int64)


def take(turns):
    turns[0] += 1
    return int(turns[0] - 1)


take_first = take  # `launch` repeats the call


def panel_rows(scratch, A, B, counts, D, first, ahead, b_ahead, R, V, lanes, a_r, few):
    (a0, a_i, a_j), (b, b_i), (rows, n_i, n_j), (d, d_r) = A, B, counts, D
    width = V * lanes
    for r in range(rows):
        sums = view(d + r * d_r * scratch.itemsize, width, scratch.dtype)
        if first:
            sums[:] = 0
        for i in range(n_i):
            at = a0 + i * a_i + r * a_r + a_j * np.arange(n_j)
            assert (at >= 0).all()
            if n_j > 0:
                lines = view(b + i * b_i * scratch.itemsize, n_j * width, scratch.dtype)
                sums += scratch[at] @ lines.reshape(n_j, width)


def dot_rows(scratch, A, B, counts, D, first, R, C, lanes):
    (a, a_r), (b0, b_c), (columns, count), (d0, d_r) = A, B, counts, D
    for r in range(R):
        row, sums = view(a + r * a_r * scratch.itemsize, count, scratch.dtype), numbers(scratch, d0 + r * d_r, columns)
        if first:
            sums[:] = 0
        for c in range(columns):
            sums[c] += row @ numbers(scratch, b0 + c * b_c, count)


def lane_sums(like, A, B, counts, S, D, R, lanes):
    (a, a_j), (b, b_j, b_r), (rows, count), (s, s_r), (d, d_r) = A, B, counts, S, D

    def vector(start, offset):
        return view(start + offset * like.itemsize, lanes, like.dtype)

    for r in range(rows):
        products = [vector(a, j * a_j) * vector(b, j * b_j + r * b_r) for j in range(count)]
        vector(d, r * d_r)[:] = sum(products, vector(s, r * s_r))


def dot_windows(like, A, windows, w0, counts, D, first, R, C, lanes):
    (a, a_r), (rows, columns, count), (d, d_r), size = A, counts, D, like.itemsize
    for r in range(rows):
        row, sums = view(a + r * a_r * size, count, like.dtype), view(d + r * d_r * size, columns, like.dtype)
        for c in range(columns):
            total = row @ view(windows[w0 + c], count, like.dtype)
            sums[c] = total if first else sums[c] + total


def sum_windows(like, a, a_r, windows, w0, counts, D, first, R, V, lanes):
    (rows, count, run), (d, d_r), size = counts, D, like.itemsize
    filled = -(-run // lanes) * lanes
    for r in range(rows):
        row, sums = view(a + r * a_r * size, count, like.dtype), view(d + r * d_r * size, run, like.dtype)
        total = sum(row[q] * view(windows[w0 + q], filled, like.dtype)[:run] for q in range(count))
        sums[:] = total + (0 if first else sums)


def add_taps(source, target, step, filters, stride, like, lanes):
    a, b = view(source, 2 * filters * stride, like.dtype).reshape(filters, 2, stride).swapaxes(0, 1)
    for m, taps in enumerate((a + b, a, b)):
        view(target + m * step * like.itemsize, filters * stride, like.dtype)[:] = taps.ravel()


def subtract_samples(even, odd, target, count, like, lanes):
    differences, samples = view(target, 2 * count, like.dtype).reshape(2, count), view(even, count + 1, like.dtype)
    differences[:] = np.stack([samples[:-1], samples[1:]]) - view(odd, count, like.dtype)


def add_sums(source, step, target, count, like, lanes):
    shared, *own = (view(source + m * step * like.itemsize, count, like.dtype) for m in range(3))
    view(target, 2 * count, like.dtype)[:] = np.stack([shared + sums for sums in own], axis=1).ravel()


def decimate_run(source, taps, target, counts, like, n, lanes):
    count, n_taps = counts
    filled = -(-count // lanes) * lanes
    samples = view(source, n * (filled + (n_taps - 1) // n), like.dtype)
    windows = [samples[i * n : i * n + n_taps] for i in range(count)]
    view(target, count, like.dtype)[:] = windows @ view(taps, n_taps, like.dtype)


def sum_run(source, count, levels, leaves, like, lanes):
    at, left = 0, int(leaves)
    while at < count:
        n = max(n for n in (8, 4, 2, 1) if n <= max(1, (count - at) // lanes))
        leaf = np.zeros((n, lanes), like.dtype)
        taken = min(n * lanes, count - at)
        leaf.ravel()[:taken] = view(source + at * like.itemsize, taken, like.dtype)
        total, level, number = leaf.sum(axis=0), 0, left
        while number % 2:
            total = total + view(levels + level * lanes * like.itemsize, lanes, like.dtype)
            level, number = level + 1, number // 2
        view(levels + level * lanes * like.itemsize, lanes, like.dtype)[:] = total
        at, left = at + taken, left + 1
    return left


def sum_leaves(target, levels, leaves, like, unit, lanes):
    waiting = [level for level in range(64) if int(leaves) >> level & 1]
    sums = [
        view(levels + level * lanes * like.itemsize, lanes, like.dtype).reshape(-1, unit).sum(0) for level in waiting
    ]
    view(target, unit, like.dtype)[:] = np.sum(sums, axis=0) if sums else 0


def panel_pair(scratch, A, B, counts, D, first, b_ahead, R, V, lanes):
    (b, b_i, distance), (d, d_r) = B, D
    for panel in range(2):
        start, sums = b + panel * distance * scratch.itemsize, (d + panel * V * lanes * scratch.itemsize, d_r)
        panel_rows(scratch, A, (start, b_i), counts, sums, first, (), 0, R, V, lanes, 1, 0)


def multiply_add(a, b, c):
    return a * b + c


def fir_tile(X, W, w0, counts, bias, B, out, sums, first, last, F, S, together, V, lanes, unit, parts, bias_last):
    (x, x_i, x_j), (n_i, n_j), (b0, b_f), (out, o_f) = X, counts, B, out
    width, size = V * lanes, W.itemsize
    rows = np.zeros((F, S, width), W.dtype)
    pairs = [bias[b0 + f * b_f : b0 + f * b_f + parts] for f in range(F)]
    added = np.array([np.resize(pair, width) if unit == 2 else np.resize(pair, S)[:, None] for pair in pairs])
    if not first:
        rows[:] = view(sums, F * S * width, W.dtype).reshape(F, S, width)
    elif not bias_last:
        rows += added.reshape(F, -1, width) if unit == 2 else added
    for i in range(n_i):
        taps = numbers(W, w0 + i * F * n_j * S, F * n_j * S).reshape(F, n_j, S)
        for j in range(n_j):
            rows += taps[:, j, :, None] * view(x + (i * x_i + j * x_j) * size, width, W.dtype)
    if last and bias_last:
        rows += added.reshape(F, -1, width) if unit == 2 else added
    if not last:
        view(sums, F * S * width, W.dtype)[:] = rows.ravel()
    for f in range(F if last else 0):
        run = view(out + f * o_f * size, S * width, W.dtype)
        run[:] = rows[f].reshape(S, -1, unit).transpose(1, 0, 2).ravel()


def fir_edge(X, W, w0, counts, bias, b0, out, sums, first, last, S, lanes, unit, parts):
    (x, x_i, x_j, x_from, x_to), (n_i, n_j), (out, out_from, out_to), size = X, counts, out, W.itemsize
    # What exists of the samples stands among zeros, and what exists of the run is copied out of all of it.
    reach = (n_j - 1) * -x_j
    samples, run = np.zeros((n_i, reach + lanes), W.dtype), np.zeros(S * lanes, W.dtype)
    begin, end = max(x_from, -reach), min(x_to, lanes)
    for i in range(n_i if begin < end else 0):
        samples[i, reach + begin : reach + end] = view(x + (i * x_i + begin) * size, end - begin, W.dtype)
    places = address(samples) + reach * size, reach + lanes, x_j
    target = (address(run), 0)
    fir_tile(places, W, w0, counts, bias, (b0, 0), target, sums, first, last, 1, S, S, 1, lanes, unit, parts, False)
    begin, end = max(out_from, 0), min(out_to, S * lanes)
    if last and begin < end:
        view(out + begin * size, end - begin, W.dtype)[:] = run[begin:end]


def _rows(source, step, count, like, lanes):
    return np.array([view(source + i * step * like.itemsize, lanes, like.dtype) for i in range(count)])


def transpose(source, step, target, t_step, like, lanes):
    for k, column in enumerate(_rows(source, step, lanes, like, lanes).T):
        view(target + k * t_step * like.itemsize, lanes, like.dtype)[:] = column


def transpose_to(source, step, target, places, p0, width, counts, is_whole, like, lanes):
    count, run = counts
    assert max(counts) <= lanes
    if is_whole:
        _rows(source, step, lanes, like, lanes)
    for i in range(count):
        row = places[p0 + i * step : p0 + i * step + run]
        if i:
            jumps = row != places[p0 + (i - 1) * step : p0 + (i - 1) * step + run] + 1
            assert not jumps.any() or (not is_whole and (row[jumps] % width == 0).all())
        for place, number in zip(row, view(source + i * step * like.itemsize, run, like.dtype), strict=True):
            view(target + place * like.itemsize, 1, like.dtype)[0] = number


def interleave(source, step, target, like, n, lanes):
    view(target, n * lanes, like.dtype)[:] = _rows(source, step, n, like, lanes).T.ravel()


def deinterleave(source, target, t_step, like, n, lanes):
    for i, row in enumerate(view(source, n * lanes, like.dtype).reshape(lanes, n).T.copy()):
        view(target + i * t_step * like.itemsize, lanes, like.dtype)[:] = row


def weave_tile(D, d0, d_b, d_q, first, rows, bias, b_odd, out, o0, o_f, counts, lanes):
    assert first < rows
    tile, (count, run) = [], counts
    for i in range(min(run, lanes)):
        q, b = divmod(first + i, rows)
        tile.append(numbers(D, d0 + q * d_q + b * d_b, lanes) + numbers(D, bias + i % 2 * b_odd, lanes))
    for f in range(count):
        numbers(out, o0 + f * o_f, len(tile))[:] = np.array(tile)[:, f]


def copy_rows(D, d0, d_r, bias, b0, parts, out, o0, o_r, count, run, lanes):
    for q in range(count):
        for chunk in range(0, run, lanes):
            at = min(chunk, max(0, run - lanes))
            added = bias[b0 + (at + np.arange(lanes)) % parts]
            numbers(out, o0 + q * o_r + at, lanes)[:] = numbers(D, d0 + q * d_r + at, lanes) + added


def copy_some(source, target, count, like, lanes):
    assert count > 0
    view(target, count, like.dtype)[:] = view(source, count, like.dtype)


def copy_windows(source, s_w, target, t_w, count, run, like, lanes):
    for w in range(count if run else 0):
        samples = view(source + w * s_w * like.itemsize, run, like.dtype)
        view(target + w * t_w * like.itemsize, run, like.dtype)[:] = samples


def prefetch_run(start, size):
    pass


def sum_rows(rows, first, step, taps, t_step, count, lag, outputs, start, end, parts, V, lanes):
    assert 0 <= lag <= count
    size = taps.itemsize
    for k, (h, target) in enumerate(outputs):
        sums = np.zeros(end - start, taps.dtype)
        for j in range(count):
            row = rows[first + (k * lag - j) * step]
            samples = view(row + start * size, end - start, taps.dtype).reshape(-1, parts)
            factors = taps[h + j * t_step :][: parts * parts].reshape(parts, parts)
            sums += (samples[:, ::-1] @ factors).reshape(-1)
        view(target + start * size, end - start, taps.dtype)[:] = sums


def copy_bytes(target, source, size):
    if size > 0:
        view(target, size, np.uint8)[:] = view(source, size, np.uint8).copy()


def zero_run(target, at, count):
    numbers(target, at, count)[:] = 0


def read(array, offset):
    return view(address(array) + offset, 1, array.dtype)[0]


def _write(array, offset, value):
    view(address(array) + offset, 1, array.dtype)[0] = value


def _as_float(value, half, stage):
    return half_to_float(np.uint32(value)) if half else stage.dtype.type(value)  # noqa: F821 of staging


def is_same_dtype(a, b):
    return a.dtype == b.dtype


def put(out, offset, value):
    _write(out, offset, float_to_half(value) if out.dtype == np.uint16 else value)  # noqa: F821 of staging


def launch(kernel, arguments, n_workers):
    """Run the workers one after the other, the last one first: it does everything, the others find nothing left."""
    turns = np.zeros(2, np.int64)
    for array in arguments:
        address(array)
    with np.errstate(over="ignore"):
        for worker in reversed(range(n_workers)):
            kernel(*arguments, turns, worker)
    forget()


def install(monkeypatch):
    """Let kernels call these, each launch for three workers."""
    names = globals()
    monkeypatch.setattr(extending._Intrinsic, "__call__", lambda self, *args: names[self._name](*args), raising=False)
    for stub in ("_as_float", "put"):  # whose meaning is an overload's
        monkeypatch.setattr(getattr(staging, stub), "__code__", names[stub].__code__)
    monkeypatch.setattr(products.largest_factor, "py_func", products.largest_factor, raising=False)
    monkeypatch.setattr(threads, "launch", launch)
    monkeypatch.setattr(threads, "workers", lambda work: 3)
