"""Random transposed convolutions for the tests: integers, dtypes and memory layouts; and how far a result may be off.

Numba compiles a kernel for each path, dtype and number of branches, a second each. Integers therefore vary freely, and
`KINDS` holds the dtypes with the few numbers of branches and filters that each is drawn with.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import product
from math import gcd
from typing import Any

import numpy as np
from scipy.signal import upfirdn as upfirdn_by_scipy

from numba_tconv import reference, upfirdn

# (dtype of x, dtype of weight): (branches, filters of a group); few filters take the FIR path, many the panels.
KINDS = {
    ("float32", "float32"): ((1, 2, 3, 4, 5, 8, 16, 20, 33, 100), (1, 2, 3, 5, 16, 40)),
    ("float64", "float64"): ((1, 2, 3, 20, 33), (1, 2, 8, 20)),
    ("complex64", "float32"): ((1, 2), (1, 2, 40)),
    ("float32", "complex64"): ((1, 2), (1, 2, 40)),
    ("complex64", "complex64"): ((1, 2), (1, 2, 40)),
    ("complex128", "float64"): ((1, 2), (1, 2, 20)),
    ("float64", "complex128"): ((1, 2), (1, 20)),
    ("complex128", "complex128"): ((1, 2), (1, 2, 20)),
    ("float16", "float16"): ((2, 3), (1, 2, 40)),
}
# Rarer ones take either path where both have been compiled for the dtype of x anyway, else one of them.
KINDS |= dict.fromkeys(
    [
        ("bool", "bool"),
        ("bool", "float32"),
        ("int8", "float32"),
        ("int16", "float32"),
        ("int16", "int16"),
        ("uint16", "float32"),
        ("float16", "int8"),
        ("float16", "float32"),
        ("float32", "bool"),
        ("float32", "float16"),
        ("float32", "int32"),
        ("float32", "float64"),
        ("float64", "float32"),
        ("complex64", "int16"),
        ("complex64", "float64"),
    ],
    ((2,), (1, 2, 40)),
)
KINDS |= dict.fromkeys([("int8", "float16"), ("uint32", "int32"), ("int64", "int64")], ((2,), (1, 2)))
KINDS |= dict.fromkeys(
    [("uint8", "int8"), ("int32", "float32"), ("uint64", "float64"), ("float16", "float64")], ((2,), (40,))
)
# Complex weights double the branches, so these share kernels with the ones above.
KINDS |= dict.fromkeys([("int8", "complex64"), ("float64", "complex64"), ("complex128", "complex64")], ((1,), (1, 40)))

COMMON = [kind for kind, (branches, _) in KINDS.items() if len(branches) > 1]

# Multiply-adds of a random case, four times as many in complex numbers: too few for parallel kernels.
MOST_WORK = 200_000
# From these numbers on a single call may read weights in place and pack none, or pack those of an item at a time.
MANY_WEIGHTS = 1 << 16, 1 << 18


def poison(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an array of values that are noticed where they do not belong: NaN, or the largest integer."""
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        return np.full(shape, np.iinfo(dtype).max, dtype)
    return np.full(shape, {"b": True, "f": np.nan, "c": complex(np.nan, np.nan)}[dtype.kind], dtype)


def _reversed(array: np.ndarray) -> np.ndarray:
    view = poison(array.shape, array.dtype)[(slice(None, None, -1),) * array.ndim]
    view[...] = array
    return view


def _stepped(array: np.ndarray) -> np.ndarray:
    steps = range(2, 2 + array.ndim)
    base = poison(tuple(n * step + 1 for n, step in zip(array.shape, steps, strict=True)), array.dtype)
    view = base[tuple(slice(1, None, step) for step in steps)]
    view[...] = array
    return view


def _embedded(array: np.ndarray) -> np.ndarray:
    view = poison(tuple(n + 2 for n in array.shape), array.dtype)[(slice(1, -1),) * array.ndim]
    view[...] = array
    return view


def _unaligned(array: np.ndarray) -> np.ndarray:
    view = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def _channels_side_by_side(array: np.ndarray) -> np.ndarray:
    axes = max(array.ndim - 2, 0), -1
    return array.swapaxes(*axes).copy().swapaxes(*axes)


def _read_only(array: np.ndarray) -> np.ndarray:
    copy = array.copy()
    copy.flags.writeable = False
    return copy


# How an array may lie in memory. What lies between the samples is poison.
WRITABLE_LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "contiguous": np.copy,
    "reversed": _reversed,
    "stepped": _stepped,
    "embedded": _embedded,
    "fortran": lambda array: array.copy(order="F"),
    "channels side by side": _channels_side_by_side,
}
LAYOUTS = WRITABLE_LAYOUTS | {
    "read-only": _read_only,
    "unaligned": _unaligned,
    "byte-swapped": lambda array: array.astype(array.dtype.newbyteorder()),
    "broadcast over time": lambda array: np.broadcast_to(array[..., :1], array.shape),
    "broadcast over rows": lambda array: np.broadcast_to(array[:1], array.shape),
}


def random_values(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return values whose sums stay far from the ends of float16."""
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return rng.random(shape) < 0.5
    if kind.kind in "iu":
        low = 0 if kind.kind == "u" else -50
        return rng.integers(low, 50, shape).astype(kind)
    values = rng.standard_normal(shape)
    return (values + 1j * rng.standard_normal(shape) if kind.kind == "c" else values).astype(kind)


@dataclass(frozen=True)
class Case:
    """One call: its integers, its dtypes, how its arrays lie in memory, and the seed of what they hold."""

    batch: int | None = None
    groups: int = 1
    channels: int = 1
    filters: int = 1
    filter_size: int = 1
    length: int = 1
    stride: int = 1
    dilation: int = 1
    padding: int | tuple[int, int] | str = 0
    output_padding: int = 0
    x_dtype: str = "float32"
    weight_dtype: str = "float32"
    bias_dtype: str | None = None
    x_layout: str = "contiguous"
    weight_layout: str = "contiguous"
    out_layout: str | None = None
    seed: int = 0

    def __repr__(self) -> str:
        changed = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {name: value for name, value in changed.items() if value != getattr(Case, name)}
        return f"Case({', '.join(f'{name}={value!r}' for name, value in changed.items())})"

    @property
    def options(self) -> dict[str, Any]:
        names = ("stride", "padding", "output_padding", "groups", "dilation")
        return {name: getattr(self, name) for name in names}

    @property
    def branches(self) -> int:
        return self.stride // gcd(self.stride, self.dilation)

    @property
    def full_length(self) -> int:
        return (self.length - 1) * self.stride + self.dilation * (self.filter_size - 1) + 1

    @property
    def output_length(self) -> int:
        if self.padding == "same":
            return self.length * self.stride
        left, right = self.padding if isinstance(self.padding, tuple) else (self.padding, self.padding)
        return self.full_length - left - right + self.output_padding

    @property
    def dtype(self) -> np.dtype:
        """The rule of the dtypes, once more: joined, and a float32 at least."""
        dtype = np.result_type(np.dtype(self.x_dtype), np.dtype(self.weight_dtype))
        return np.result_type(dtype, np.float32) if dtype.kind in "biu" else dtype

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return x, weight and bias, the same ones every time."""
        rng = np.random.default_rng(self.seed)
        batch = () if self.batch is None else (self.batch,)
        x = random_values(rng, (*batch, self.groups * self.channels, self.length), self.x_dtype)
        shape = (self.groups * self.channels, self.filters, self.filter_size)
        weight = LAYOUTS[self.weight_layout](random_values(rng, shape, self.weight_dtype))
        bias = None
        if self.bias_dtype is not None:
            bias = LAYOUTS[self.weight_layout](random_values(rng, (self.groups * self.filters,), self.bias_dtype))
        return LAYOUTS[self.x_layout](x), weight, bias

    @property
    def definition(self) -> Callable[..., np.ndarray]:
        """The reference that takes the least time; for a few small cases the matrix."""
        small = self.length * self.filter_size
        pairs = (1 if self.batch is None else self.batch) * self.groups * self.channels * self.filters
        if pairs * self.length * self.full_length < 2_000 and self.seed % 2:
            return reference.convolution_matrix
        if small > 10_000:
            return tap_by_tap
        return reference.scatter if small < pairs else reference.zero_insertion

    def expected(self, *arrays: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the result in double precision, and for each sample the sum of the magnitudes that it adds up."""
        magnitudes = [None if array is None else abs(array.astype(complex)) for array in arrays]
        return self.definition(*arrays, **self.options), self.definition(*magnitudes, **self.options)

    def out(self) -> np.ndarray | None:
        """Return poison to write to, in the layout of the case."""
        if self.out_layout is None:
            return None
        batch = () if self.batch is None else (self.batch,)
        shape = (*batch, self.groups * self.filters, self.output_length)
        return WRITABLE_LAYOUTS[self.out_layout](poison(shape, self.dtype))


def tap_by_tap(x, weight, bias=None, *, stride, padding, output_padding, groups, dilation):
    """Return the scatter sum; for long signals: all samples of one tap at once, as a product of matrices."""
    (channels, filters, filter_size), length = weight.shape, x.shape[-1]
    double = np.result_type(x, weight, np.float64)
    x = x.astype(double).reshape(*x.shape[:-2], groups, channels // groups, length)
    weight = weight.astype(double).reshape(groups, channels // groups, filters, filter_size)
    full_length = (length - 1) * stride + dilation * (filter_size - 1) + 1
    full = np.zeros((*x.shape[:-2], filters, full_length + max(output_padding, stride)), double)
    for k in range(filter_size):
        full[..., dilation * k :][..., : (length - 1) * stride + 1 : stride] += weight[..., k].swapaxes(1, 2) @ x
    if padding == "same":
        left = max(0, full_length - length * stride) // 2
        stop = left + length * stride
    else:
        left, right = padding if isinstance(padding, tuple) else (padding, padding)
        stop = full_length + output_padding - right
    y = full[..., left:stop].reshape(*x.shape[:-3], groups * filters, stop - left)
    return y if bias is None else y + bias[:, np.newaxis]


def assert_close(y: np.ndarray, expected: np.ndarray, magnitude: np.ndarray) -> None:
    """Check a result against the truth in double precision.

    Rounding errors are proportional to the magnitudes that a sample adds up, and not to what is left of them after
    cancellation: those are the scale, sample by sample. Where nothing is added up the result is exact. 2e-5 of it for
    float32, 1e-12 for float64, about 170 and 4,500 units in the last place, leave room for sums of thousands.

    float16 is computed in float32 and rounded once: it may be off by what float32 may, and by half a float16 unit in
    the last place of the largest number that float32 may have held. A second rounding, or sums in float16, go beyond.
    """
    bound = (1e-12 if y.dtype.char in "dD" else 2e-5) * magnitude
    if y.dtype == np.float16:
        bound = bound + np.spacing((abs(expected) + bound).astype(np.float16)).astype(float) / 2
    error = abs(y - expected)
    assert y.shape == expected.shape
    worst = np.unravel_index(np.argmax(error - bound), error.shape) if error.size else ()
    assert np.all(error <= bound), (
        f"{np.count_nonzero(~(error <= bound))} of {error.size} samples are off; "
        f"at {tuple(map(int, worst))} {y[worst]!r}, not {expected[worst]!r}"
    )


def assert_gradients_close(gradients: tuple, case: Case, g: Any, x: Any, weight: Any) -> None:
    """Compare the gradients of x, weight and bias with their definition; that of what is real is real."""
    expected = reference.gradients(g, x, weight, **case.options)
    magnitudes = reference.gradients(*(abs(array.astype(complex)) for array in (g, x, weight)), **case.options)
    for array, gradient, truth, magnitude in zip((x, weight, None), gradients, expected, magnitudes, strict=True):
        is_real = array is not None and array.dtype.kind != "c"
        assert gradient.dtype == (np.empty(0, case.dtype).real.dtype if is_real else case.dtype)
        assert_close(gradient, truth.real if is_real else truth, abs(magnitude))


def random_case(rng: random.Random, kind: tuple[str, str] | None = None) -> Case:
    """Return a small case; `rng` may be a `random.Random` or hypothesis' stand-in for one."""
    if kind is None:
        kind = rng.choice(COMMON if rng.random() < 0.6 else list(KINDS))
    some_branches, some_filters = KINDS[kind]
    branches, filters = rng.choice(some_branches), rng.choice(some_filters)
    step = rng.choice([step for step in (1, 1, 1, 1, 2, 3, 5, 7, 40) if gcd(step, branches) == 1])

    length = rng.choice((1, rng.randint(1, 6), rng.randint(1, 40), rng.randint(1, 600)))
    filter_size = rng.choice((1, rng.randint(1, 5), rng.randint(1, 20), rng.randint(1, 20), rng.randint(20, 300)))
    groups, channels = rng.choice(((1, 1), (1, 2), (1, rng.randint(3, 9)), (2, 1), (3, 2), (12, 1), (20, 1), (1, 300)))
    batch = rng.choice((None, None, 1, 2, rng.randint(3, 9)))

    def work() -> int:
        taps = -(-filter_size // branches)
        return (batch or 1) * groups * channels * filters * branches * taps * (length + (taps - 1) * step)

    while work() > MOST_WORK:
        filter_size, length, batch = -(-filter_size // 2), -(-length // 2), batch and -(-batch // 2)
        if filter_size == length == 1:
            groups, channels = 1, -(-channels // 2)
    case = Case(batch, groups, channels, filters, filter_size, length)
    return with_options(rng, case, kind, branches, step)


def random_wide_case(rng: random.Random) -> Case:
    """Return a case with many weights, more than samples."""
    kind = rng.choice((("float32", "float32"), ("float64", "float64"), ("complex64", "float32"), ("int16", "float32")))
    groups, channels = rng.choice((1, 1, 2)), rng.randint(32, 100)
    filter_size = rng.choice((rng.randint(1, 5), rng.randint(6, 40), rng.randint(40, 200)))
    filters = -(-rng.choice(MANY_WEIGHTS) // (groups * channels * filter_size)) + rng.randrange(5)
    length = rng.choice((1, rng.randint(1, 6), rng.randint(1, 40)))
    case = Case(rng.choice((None, 1, rng.randint(2, 5))), groups, channels, filters, filter_size, length)
    case = with_options(rng, case, kind, rng.choice((2, 3)), rng.choice((1, 1, 5)))
    return replace(case, weight_layout="contiguous")


def random_long_case(rng: random.Random) -> Case:
    """Return a case of long signals with few weights, whose branches all have the same taps."""
    kind = rng.choice((("float32", "float32"), ("float32", "float32"), ("complex64", "float32")))
    branches = rng.choice((1, 2, 3, 5))
    filters, groups, channels = rng.choice((16, 36, 44)), rng.choice((1, 1, 2)), rng.randint(1, 9)
    case = Case(
        rng.choice((None, 1, 2)), groups, channels, filters, branches * rng.randint(1, 4), rng.randint(256, 900)
    )
    return with_options(
        rng, case, kind, branches, rng.choice([step for step in (1, 1, 1, 2) if gcd(step, branches) == 1])
    )


def with_options(rng: random.Random, case: Case, kind: tuple[str, str], branches: int, step: int) -> Case:
    """Draw what is left when the shapes are known: crop, dtypes, layouts."""
    common = rng.choice((1, 1, 1, 2, 3))
    case = replace(case, stride=branches * common, dilation=step * common, x_dtype=kind[0], weight_dtype=kind[1])
    output_padding = rng.choice((0, 0, rng.randrange(max(case.stride, case.dilation))))
    spare = case.full_length + output_padding - 1
    left = rng.choice((0, rng.randint(0, min(case.stride, spare)), rng.randint(0, spare)))
    right = rng.choice((0, rng.randint(0, min(case.stride, spare - left)), rng.randint(0, spare - left)))
    padding = rng.choice((0, rng.randint(0, spare // 2), (left, right), (left, right), "same"))
    biases = ["float32", "float64", "int16", *["complex64"] * (case.dtype.kind == "c")]
    return replace(
        case,
        padding=padding,
        output_padding=0 if padding == "same" else output_padding,
        bias_dtype=rng.choice((None, *biases)),
        x_layout=rng.choice(list(LAYOUTS)),
        weight_layout=rng.choice(list(LAYOUTS)),
        out_layout=rng.choice((None, *WRITABLE_LAYOUTS)),
        seed=rng.randrange(2**32),
    )


def random_cases(seed: int, count: int) -> Iterator[Case]:
    """Yield random cases, one in twenty of them wide and one long."""
    rng = random.Random(seed)  # noqa: S311 nothing secret
    for number in range(count):
        yield {9: random_long_case, 19: random_wide_case}.get(number % 20, random_case)(rng)


def small_case(rng: random.Random, most_work: int) -> Case:
    """Return a case of few multiply-adds, for kernels that run as Python: thousands a second, not billions."""
    while True:
        kind = rng.choice(list(KINDS))
        branches = rng.choice((1, 1, 2, 2, 3, 4, 6, 7))
        step = rng.choice([step for step in (1, 1, 1, 2, 3, 5) if gcd(step, branches) == 1])
        batch = rng.choice((None, 1, 2, 3))
        groups, channels, filters = rng.choice((1, 1, 2, 3)), rng.choice((1, 1, 2, 5, 9)), rng.choice((1, 1, 2, 5, 9))
        filter_size, length = rng.choice((1, rng.randint(1, 5), rng.randint(1, 20))), rng.randint(1, 25)
        taps = -(-filter_size // branches)
        work = (batch or 1) * groups * channels * filters * branches * taps * (length + (taps - 1) * step)
        if work <= most_work:
            case = Case(batch, groups, channels, filters, filter_size, length)
            case = with_options(rng, case, kind, branches, step)
            if case.output_length * (batch or 1) * groups * filters <= most_work:
                return case


def small_cases(seed: int, count: int, most_work: int = 600) -> list[Case]:
    """Return random cases of all dtypes and layouts."""
    rng = random.Random(seed)  # noqa: S311 nothing secret
    return [small_case(rng, most_work) for _ in range(count)]


# Long or wide enough for what random cases do not reach, on either side of the threshold for parallel kernels.
LARGE = {
    "fir, several blocks, serial": Case(filter_size=9, length=5000, stride=4),
    "fir, parallel": Case(filter_size=41, length=40_000, stride=4, padding=(7, 3), bias_dtype="float32"),
    "fir, strided arrays": Case(
        filter_size=41, length=40_000, stride=4, padding=(7, 3), x_layout="stepped", out_layout="stepped"
    ),
    "fir, arrays in a frame": Case(
        3, 2, filter_size=33, length=7001, stride=4, x_layout="embedded", out_layout="embedded"
    ),
    "fir, depthwise": Case(2, 32, filter_size=4, length=9000, stride=2, padding=1),
    "fir, depthwise, few samples, complex": Case(
        40, 33, filter_size=7, length=5, stride=3, x_dtype="complex64", x_layout="stepped", out_layout="stepped"
    ),
    "fir, many channels": Case(1, 1, 150, filter_size=6, length=3000, stride=2, padding="same"),
    "fir, taps that do not interleave": Case(1, 1, 2, filter_size=15, length=40_000, stride=2, dilation=3),
    "fir, double": Case(2, filter_size=31, length=20_000, stride=2, x_dtype="float64", weight_dtype="float64"),
    "fir, pairs": Case(filter_size=31, length=30_000, stride=2, padding=(1, 2), x_dtype="complex64"),
    "fir, complex taps": Case(
        1, filter_size=19, length=30_000, stride=2, x_dtype="complex64", weight_dtype="complex64"
    ),
    "fir, half": Case(2, filter_size=8, length=3001, stride=2, x_dtype="float16", weight_dtype="float16"),
    "fir, integers": Case(2, filter_size=8, length=3001, stride=2, x_dtype="int16"),
    "depthwise, serial": Case(40, 33, filter_size=7, length=5, stride=3, padding=(2, 3), bias_dtype="float32"),
    "depthwise, one sample": Case(300, 70, filter_size=4, length=1, stride=2, padding=(0, 2), bias_dtype="float32"),
    "depthwise, several filters": Case(60, 33, 1, 3, 6, 8, 4, padding=(1, 7), bias_dtype="float32"),
    "depthwise, long filters": Case(9, 50, filter_size=201, length=30, stride=4, padding=(150, 0)),
    "depthwise, dilated": Case(90, 40, filter_size=5, length=21, dilation=3, padding=(9, 2)),
    "depthwise, double, arrays in a frame": Case(
        90,
        40,
        filter_size=5,
        length=25,
        stride=2,
        x_dtype="float64",
        weight_dtype="float64",
        x_layout="embedded",
        out_layout="embedded",
        output_padding=1,
    ),
    "depthwise, channels side by side, turned": Case(
        90,
        40,
        filter_size=5,
        length=25,
        stride=2,
        padding="same",
        x_layout="channels side by side",
        out_layout="channels side by side",
    ),
    "panels, several blocks, serial": Case(channels=2, filters=41, filter_size=3, length=600, bias_dtype="float32"),
    "panels, parallel": Case(3, 1, 80, 48, 16, 300, 8, padding=4, bias_dtype="float32"),
    "panels, strided arrays": Case(3, 1, 80, 48, 16, 300, 8, padding=4, x_layout="stepped", out_layout="reversed"),
    "panels, arrays in a frame": Case(3, 1, 80, 48, 16, 300, 8, padding=4, x_layout="embedded", out_layout="embedded"),
    "panels, rows of five": Case(3, 1, 80, 48, 15, 300, 5, padding=4, bias_dtype="float32"),
    "panels, rows of twenty": Case(3, 1, 80, 12, 40, 300, 20, padding=(7, 0), bias_dtype="float32"),
    "panels, blocks of channels and groups of lanes": Case(
        1, 1, 300, 512, 4, 1300, 2, padding=1, weight_layout="fortran"
    ),
    "panels, blocks of taps": Case(1, 1, 2, 1, 16 * 300, 400, 16, padding=(100, 2000)),
    "panels, blocks of taps far apart": Case(1, 1, 3, 20, 40, 3000, dilation=2000, padding=(70_001, 5)),
    "panels, huge dilation": Case(1, filter_size=3, length=50, dilation=1 << 20),
    "panels, few samples": Case(130, 1, 50, 40, 4, 1, 2, bias_dtype="float32"),
    "panels, few samples, cropped": Case(70, 1, 50, 40, 9, 3, 4, padding=(9, 1)),
    "panels, short signals": Case(40, 1, 24, 16, 5, 33, 8, bias_dtype="float32"),
    "panels, short signals, cropped": Case(17, 1, 24, 40, 9, 40, 2, padding=(11, 6)),
    "panels, signals shorter than the filter": Case(40, 1, 24, 40, 25, 9, 4, padding=(10, 11), bias_dtype="float32"),
    "panels, short signals, taps far apart": Case(3, 1, 2, 20, 3, 50, dilation=70_001, padding=(70_001, 5)),
    "panels, filters that fill no vector": Case(2, 1, 30, 37, 7, 60, 3, padding=(1, 2), bias_dtype="float32"),
    "panels, packed on the way, one sample": Case(3, 1, 500, 300, 16, 1, 8, padding=4, weight_layout="fortran"),
    "panels, groups": Case(2, 3, 30, 40, 5, 200, 2, dilation=3),
    "panels, long frames": Case(1, 1, 65, 1, 256, 150, 64, padding=(96, 96)),
    "panels, double": Case(2, 1, 30, 20, 7, 300, 2, x_dtype="float64", weight_dtype="float64"),
    "panels, pairs": Case(2, 1, 30, 20, 7, 300, 2, x_dtype="complex128", weight_dtype="float64"),
    "panels, complex taps": Case(2, 1, 30, 40, 7, 300, 2, x_dtype="complex64", weight_dtype="complex64"),
    "panels, half": Case(2, 1, 10, 40, 7, 300, 2, x_dtype="float16", weight_dtype="float16"),
    "panels, packed on the way": Case(2, 1, 300, 64, 16, 20, 8, padding=(3, 9), output_padding=2),
    "panels, packed on the way, blocks of rows": Case(3, 1, 60, 400, 16, 200, 8, padding=4, bias_dtype="float32"),
    "panels, packed on the way, groups": Case(
        2, 2, 70, 208, 10, 30, 2, dilation=3, x_layout="stepped", weight_layout="fortran", out_layout="reversed"
    ),
    "panels, packed on the way, long frames": Case(1, 1, 65, 1, 4200, 150, 128, padding=(96, 96)),
    "panels, packed on the way, filters that fill no vector": Case(2, 1, 75, 148, 35, 60, 5, padding=(1, 2)),
    "panels, packed on the way, blocks of taps": Case(1, 1, 3, 16, 40 * 260, 30, 40, padding=(3000, 5000)),
    "panels, packed on the way, double": Case(2, 1, 70, 128, 47, 30, 2, x_dtype="float64", weight_dtype="float64"),
    "panels, packed on the way, pairs": Case(2, 1, 70, 128, 47, 30, 2, x_dtype="complex64", bias_dtype="complex64"),
    "panels, packed on the way, complex taps": Case(
        2, 1, 40, 64, 47, 30, 2, x_dtype="complex64", weight_dtype="complex64"
    ),
    "panels, packed on the way, half": Case(2, 1, 70, 128, 47, 30, 2, x_dtype="float16", weight_dtype="float16"),
    "direct, several blocks, serial": Case(1, 1, 1, 16, 3, 10_000),
    "direct, parallel": Case(1, 1, 48, 24, 4, 9000, 2, padding=1, bias_dtype="float32"),
    "direct, several signals": Case(5, 1, 24, 36, 6, 700, 3, padding=(2, 4), bias_dtype="float32"),
    "direct, shares of filters": Case(1, 1, 96, 48, 4, 256, 2, padding=1),
    "direct, strided arrays": Case(3, 1, 24, 20, 8, 400, 4, padding=3, x_layout="stepped", out_layout="reversed"),
    "direct, arrays in a frame": Case(3, 1, 24, 20, 8, 400, 4, padding=3, x_layout="embedded", out_layout="embedded"),
    "panels, turned": Case(2, 1, 40, 48, 7, 301, 2, padding=3, x_layout="channels side by side", bias_dtype="float32"),
    "panels, turned, and back": Case(
        None, 2, 17, 40, 5, 350, 3, dilation=2, x_layout="channels side by side", out_layout="channels side by side"
    ),
    "panels, turned, complex": Case(
        2,
        1,
        20,
        20,
        8,
        150,
        4,
        x_dtype="complex64",
        x_layout="channels side by side",
        bias_dtype="float32",
        out_layout="channels side by side",
    ),
    "fir, turned, double": Case(1, 1, 33, 1, 16, 200, 8, x_dtype="float64", x_layout="channels side by side"),
    "direct, groups": Case(2, 3, 9, 16, 4, 500, 2, padding=(1, 3), weight_layout="fortran", bias_dtype="float32"),
    "direct, taps apart": Case(2, 1, 7, 36, 3, 600, dilation=50, padding=(60, 11)),
    "direct, taps that do not interleave": Case(1, 1, 7, 16, 6, 900, 4, dilation=6, padding=(3, 5)),
    "direct, branches that lack a tap": Case(2, 1, 9, 52, 7, 500, 3, padding=(2, 1), bias_dtype="float32"),
    "direct, many branches": Case(2, 1, 5, 9, 24, 400, 12, output_padding=5, bias_dtype="float32"),
    "direct, double": Case(2, 1, 30, 20, 6, 700, 2, x_dtype="float64", weight_dtype="float64"),
    "direct, pairs": Case(2, 1, 30, 20, 6, 700, 2, padding=1, x_dtype="complex64", bias_dtype="complex64"),
    "direct, pairs in a frame": Case(2, 1, 30, 20, 6, 700, 2, x_dtype="complex64", x_layout="embedded"),
    "direct, complex taps": Case(2, 1, 10, 20, 6, 700, 2, x_dtype="complex64", weight_dtype="complex64"),
    "direct, half": Case(2, 1, 10, 40, 6, 700, 2, x_dtype="float16", weight_dtype="float16"),
    "direct, integers": Case(2, 1, 10, 40, 6, 700, 2, x_dtype="int16"),
    "scatter, one sample": Case(1, 1, 500, 300, 16, 1, 8, padding=4, bias_dtype="float32"),
    "scatter, few samples, serial": Case(None, 1, 70, 71, 15, 5, 8, padding=4, bias_dtype="float32"),
    "scatter, sixteen samples": Case(2, 1, 300, 64, 16, 8, 8, padding=(3, 9), output_padding=2),
    "scatter, groups": Case(2, 3, 50, 90, 7, 7, 2, dilation=3, x_layout="stepped", out_layout="reversed"),
    "scatter, few weights, more samples": Case(3, 1, 60, 12, 8, 17, 4, padding=2, bias_dtype="float32"),
    "scatter, long frames": Case(1, 1, 65, 20, 120, 15, 64, padding=(30, 26)),
    "scatter, double": Case(2, 1, 70, 90, 11, 8, 2, x_dtype="float64", weight_dtype="float64"),
    "scatter, pairs": Case(2, 1, 70, 90, 11, 4, 2, x_dtype="complex64", bias_dtype="complex64"),
    "scatter, half": Case(2, 1, 70, 90, 11, 8, 2, x_dtype="float16"),
}


def check_rates(copy=np.copy, run=lambda call: call()) -> None:
    """Compare changes of rate with SciPy, on every way through their kernels; for processes of their own.

    `copy` places the arrays in memory, `run` makes the call.
    """
    rng = np.random.default_rng(0)
    rates = [(3, 1), (3, 2), (2, 3), (1, 5), (7, 8), (13, 1), (9, 16), (160, 147), (1024, 1021), (40, 3), (1, 40)]
    kinds = [("float32", "float32"), ("float64", "float64"), ("complex64", "float32"), ("complex64", "complex64")]
    for (up, down), (dtype, h_dtype), length in product(rates, kinds, (1, 40, 4500)):
        for taps in (2, 20 * max(up, down) + 1):
            x, h = copy(random_values(rng, (length,), dtype)), copy(random_values(rng, (taps,), h_dtype))
            y = run(lambda h=h, x=x, up=up, down=down: upfirdn(h, x, up, down))
            expected = upfirdn_by_scipy(h.astype("D"), x.astype("D"), up, down)
            magnitude = upfirdn_by_scipy(np.abs(h), np.abs(x), up, down).max()
            assert np.abs(y - expected).max() <= (1e-13 if dtype == "float64" else 1e-5) * magnitude, (up, down, dtype)
        if h_dtype != "complex64":
            columns = copy(random_values(rng, (length, 37), dtype))
            y = run(lambda h=h, x=columns, up=up, down=down: upfirdn(h, x, up, down, axis=0))
            turned = copy(columns.T)
            rows = run(lambda h=h, x=turned, up=up, down=down: upfirdn(h, x, up, down))
            assert (y == rows.T).all(), (up, down, dtype)
