"""The three definitions of `numba_tconv.reference` against each other, numbers worked out by hand, and PyTorch."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from numba_tconv import reference

DEFINITIONS = [reference.scatter, reference.zero_insertion, reference.convolution_matrix]
SEEDS = range(200)


@pytest.fixture(params=DEFINITIONS, ids=lambda definition: definition.__name__)
def definition(request):
    return request.param


def random_array(rng, shape, is_complex):
    array = rng.standard_normal(shape)
    return array + 1j * rng.standard_normal(shape) if is_complex else array


def random_case(seed):
    """Return (x, weight, bias) and the options, all of them drawn."""
    rng = np.random.default_rng(seed)
    stride, dilation, groups, length, filter_size = (int(high) for high in rng.integers(1, [6, 5, 4, 7, 8]))
    options = {"stride": stride, "dilation": dilation, "groups": groups}
    full_length = (length - 1) * stride + dilation * (filter_size - 1) + 1
    left = int(rng.integers(full_length))
    right = int(rng.integers(full_length - left))
    options["padding"] = [min(left, right), (left, right), "same"][rng.integers(3)]
    options["output_padding"] = 0 if options["padding"] == "same" else int(rng.integers(max(stride, dilation)))
    in_channels, out_channels = (int(n) for n in groups * rng.integers(1, 4, 2))
    batch = [(), (1,), (3,)][rng.integers(3)]
    x = random_array(rng, (*batch, in_channels, length), rng.random() < 0.3)
    weight = random_array(rng, (in_channels, out_channels // groups, filter_size), rng.random() < 0.3)
    bias = random_array(rng, out_channels, rng.random() < 0.2) if rng.random() < 0.7 else None
    return (x, weight, bias), options


@pytest.mark.parametrize("seed", SEEDS)
def test_definitions_agree(seed):
    arrays, options = random_case(seed)
    expected, *others = (definition(*arrays, **options) for definition in DEFINITIONS)
    for other in others:
        assert other.dtype == expected.dtype
        assert_allclose(other, expected, rtol=1e-12, atol=1e-12)


def test_random_cases_are_varied():
    arrays, options = zip(*map(random_case, SEEDS), strict=True)
    for option, values in {"stride": 5, "dilation": 4, "groups": 3, "output_padding": 5}.items():
        assert {o[option] for o in options} >= set(range(1, values)), option
    assert {x.ndim for x, _, _ in arrays} == {2, 3}
    assert {weight.shape[-1] for _, weight, _ in arrays} == set(range(1, 8))
    assert len({(np.iscomplexobj(x), np.iscomplexobj(weight)) for x, weight, _ in arrays}) == 4
    assert {type(bias) for _, _, bias in arrays} == {np.ndarray, type(None)}
    pairs = [o["padding"] for o in options if isinstance(o["padding"], tuple)]
    assert any(left > right > 0 for left, right in pairs)
    assert any(right > left > 0 for left, right in pairs)
    assert any(isinstance(o["padding"], int) and o["padding"] for o in options)
    excess = [
        o["dilation"] * (weight.shape[-1] - 1) + 1 - o["stride"]
        for (_, weight, _), o in zip(arrays, options, strict=True)
        if o["padding"] == "same"
    ]
    assert min(excess) < 0 < max(excess)
    assert {n % 2 for n in excess if n > 0} == {0, 1}


@pytest.mark.peers
@pytest.mark.parametrize("seed", SEEDS)
def test_agrees_with_pytorch(seed):
    torch = pytest.importorskip("torch")
    arrays, options = random_case(seed)
    if not isinstance(options["padding"], int):
        options["padding"] = 0  # PyTorch has neither pairs nor 'same'
    dtype = np.result_type(*(array for array in arrays if array is not None))
    tensors = [None if array is None else torch.from_numpy(array.astype(dtype)) for array in arrays]
    expected = torch.nn.functional.conv_transpose1d(*tensors, **options).numpy()
    assert_allclose(reference.scatter(*arrays, **options), expected, rtol=1e-12, atol=1e-12)


GOLDEN = {
    "one tap": ([[1, 2]], [[[3]]], {}, [[3, 6]]),
    "stride": ([[1, 2]], [[[1, 10, 100]]], {"stride": 2}, [[1, 10, 102, 20, 200]]),
    "gaps": ([[1, 2]], [[[1, 10]]], {"stride": 3}, [[1, 10, 0, 2, 20]]),
    "dilation": ([[1, 2]], [[[1, 10]]], {"dilation": 2}, [[1, 2, 10, 20]]),
    "stride and dilation": ([[1, 2]], [[[1, 10]]], {"stride": 2, "dilation": 3}, [[1, 0, 2, 10, 0, 20]]),
    "crop": ([[1, 2]], [[[1, 10, 100]]], {"stride": 2, "padding": 1}, [[10, 102, 20]]),
    "left crop": ([[1, 2]], [[[1, 10, 100]]], {"stride": 2, "padding": (2, 0)}, [[102, 20, 200]]),
    "right crop": ([[1, 2]], [[[1, 10, 100]]], {"stride": 2, "padding": (0, 1)}, [[1, 10, 102, 20]]),
    "output padding": ([[1, 2]], [[[1, 10, 100]]], {"stride": 2, "output_padding": 1}, [[1, 10, 102, 20, 200, 0]]),
    "output padding undoes a crop": (
        [[1, 2]],
        [[[1, 10, 100]]],
        {"stride": 2, "padding": (0, 2), "output_padding": 1},
        [[1, 10, 102, 20]],
    ),
    "nothing but output padding": ([[1]], [[[1, 10]]], {"stride": 2, "padding": (2, 0), "output_padding": 1}, [[0]]),
    "same, odd": ([[1, 2]], [[[1, 10, 100]]], {"stride": 2, "padding": "same"}, [[1, 10, 102, 20]]),
    "same, even": ([[1, 2]], [[[1, 10, 100]]], {"padding": "same"}, [[12, 120]]),
    "same, filter as long as the stride": ([[1, 2]], [[[1, 10]]], {"stride": 2, "padding": "same"}, [[1, 10, 2, 20]]),
    "same, filter shorter than the stride": (
        [[1, 2]],
        [[[1, 10]]],
        {"stride": 4, "padding": "same"},
        [[1, 10, 0, 0, 2, 20, 0, 0]],
    ),
    "same, dilation": ([[1, 2]], [[[1, 10]]], {"stride": 2, "dilation": 3, "padding": "same"}, [[0, 2, 10, 0]]),
    "same, dilated filter shorter than the stride": (
        [[1, 2]],
        [[[1, 10]]],
        {"stride": 4, "dilation": 2, "padding": "same"},
        [[1, 0, 10, 0, 2, 0, 20, 0]],
    ),
    "channels": (
        [[1], [2]],
        [[[1, 10], [3, 30]], [[100, 1000], [5, 50]]],
        {},
        [[201, 2010], [13, 130]],
    ),
    "groups": ([[1], [2]], [[[1], [10]], [[3], [30]]], {"groups": 2}, [[1], [10], [6], [60]]),
    "channels in groups": (
        [[1], [2], [3], [4]],
        [[[1]], [[10]], [[100]], [[1000]]],
        {"groups": 2},
        [[21], [4300]],
    ),
    "batch": ([[[1, 2]], [[3, 4]]], [[[1, 10]]], {"stride": 2}, [[[1, 10, 2, 20]], [[3, 30, 4, 40]]]),
    "complex, not conjugated": ([[1j]], [[[1 + 1j, 2]]], {}, [[-1 + 1j, 2j]]),
}


@pytest.mark.parametrize(("x", "weight", "options", "expected"), GOLDEN.values(), ids=GOLDEN)
def test_golden_numbers(definition, x, weight, options, expected):
    assert_array_equal(definition(x, weight, **options), expected)
    bias = 0.25 + np.arange(np.shape(expected)[-2])
    assert_array_equal(definition(x, weight, bias, **options), np.asarray(expected) + bias[:, np.newaxis])


@pytest.mark.parametrize("seed", range(20))
def test_adjoint_is_strided_correlation(seed, definition):
    """<A x, y> == <x, A' y> where A' is NumPy's correlation with the dilated filter, read at every stride-th lag."""
    (x, weight, _), options = random_case(seed)
    options |= {"groups": 1, "padding": 0, "output_padding": 0}
    stride, dilation = options["stride"], options["dilation"]
    forward = definition(x, weight, **options)
    rng = np.random.default_rng(seed)
    y = random_array(rng, forward.shape, is_complex=True)
    dilated = np.kron(weight, np.eye(1, dilation))[..., : dilation * (weight.shape[-1] - 1) + 1]
    backward = np.zeros(x.shape, complex)
    for *n, c in np.ndindex(x.shape[:-1]):
        for f in range(weight.shape[1]):
            backward[(*n, c)] += np.correlate(y[(*n, f)], dilated[c, f], "valid")[::stride]
    assert_allclose(np.vdot(forward, y), np.vdot(x, backward), rtol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.bool_, np.float64),
        (np.int8, np.float64),
        (np.float16, np.float64),
        (np.float32, np.float64),
        (np.float64, np.float64),
        (np.longdouble, np.float64),
        (np.complex64, np.complex128),
        (np.complex128, np.complex128),
    ],
)
def test_computes_in_double_precision(definition, dtype, expected):
    ones = np.ones((1, 1), dtype)
    third = np.full((1, 1, 1), 1 / 3, np.float32)
    for result in (
        definition(ones, third),
        definition(third[0], np.ones((1, 1, 1), dtype)),
        definition(third[0], third, ones[0]),
    ):
        assert result.dtype == expected
    assert definition(ones, third)[0, 0] == np.float64(np.float32(1 / 3))


def test_empty_batch(definition):
    result = definition(np.ones((0, 2, 3)), np.ones((2, 4, 5)), np.ones(4), stride=2)
    assert result.shape == (0, 4, 9)


@pytest.mark.parametrize("padding", [3, (5, 0), (0, 5), (2, 3)])
def test_crop_must_leave_a_sample(definition, padding):
    with pytest.raises(ValueError, match="at least one output sample"):
        definition([[1, 2]], [[[1, 10, 100]]], stride=2, padding=padding)


@pytest.mark.parametrize("seed", range(60))
def test_gradients_are_the_conjugate_transpose(seed):
    """Of the matrix whose columns are the outputs for unit impulses: in x, in the weight and in the bias."""
    (x, weight, _), options = random_case(seed)
    bias = np.zeros(weight.shape[1] * options["groups"])
    arrays = (x, weight, bias)
    y = reference.scatter(*arrays, **options)
    g = random_array(np.random.default_rng(seed), y.shape, np.iscomplexobj(y))
    for position, gradient in enumerate(reference.gradients(g, x, weight, **options)):
        array = arrays[position]
        assert gradient.shape == array.shape
        others = list(arrays) if position < 2 else [np.zeros_like(x), weight, bias]
        for index in np.ndindex(array.shape):
            others[position] = np.zeros(array.shape)
            others[position][index] = 1
            expected = np.sum(reference.scatter(*others, **options).conj() * g)
            assert_allclose(gradient[index], expected, rtol=1e-12, atol=1e-12)
