"""Every small geometry, enumerated against the scatter definition; the checks of the integers."""

import dataclasses
import re
from itertools import product

import numpy as np
import pytest

from numba_tconv.geometry import Geometry, as_integer, as_padding, geometry

LENGTHS, FILTER_SIZES, STRIDES, DILATIONS = range(1, 5), range(1, 7), range(1, 5), range(1, 5)
PADDINGS = [(0, 0), (1, 1), (3, 0), (0, 2), (2, 5), (7, 1), "same"]


def options(stride):
    """Return (length, filter_size, stride, padding, output_padding, dilation) of every small problem."""
    for length, filter_size, dilation, padding in product(LENGTHS, FILTER_SIZES, DILATIONS, PADDINGS):
        for output_padding in range(1 if padding == "same" else max(stride, dilation)):
            yield length, filter_size, stride, padding, output_padding, dilation


def scatter(length, filter_size, stride, dilation):
    """Return {sample of the full output: {(k, i) that add to it}}."""
    reached = {}
    for k, i in product(range(filter_size), range(length)):
        reached.setdefault(stride * i + dilation * k, set()).add((k, i))
    return reached


def expected_window(full_length, length, stride, padding, output_padding):
    """Return the samples of the full output that are kept, those past its end included."""
    if padding != "same":
        left, right = padding
        return range(left, full_length + output_padding - right)
    left = max(0, full_length - length * stride) // 2
    return range(left, left + length * stride)


def window(g):
    return range(g.left, g.left + g.output_length)


def branch_samples(g):
    """Return (row, branch, sample of the full output) in the order of the rows, cropped ones included."""
    for row, branch in product(range(g.first_row, g.first_row + g.rows), range(g.branches)):
        yield row, branch, g.stride * row + g.dilation * branch


def branch_taps(g, row, branch):
    """Return the (k, i) that a branch adds up in a row."""
    taps = ((branch + g.branches * j, row - g.input_step * j) for j in range(g.taps_per_branch))
    return {(k, i) for k, i in taps if k < g.filter_size and 0 <= i < g.length}


def geometries(stride):
    """Return every small geometry that keeps a sample, with its scatter."""
    for length, filter_size, _, padding, output_padding, dilation in options(stride):
        reached = scatter(length, filter_size, stride, dilation)
        if expected_window(max(reached) + 1, length, stride, padding, output_padding):
            yield geometry(length, filter_size, stride, padding, output_padding, dilation), reached


@pytest.mark.parametrize("stride", STRIDES)
def test_lengths_and_crops(stride):
    refused = 0
    for length, filter_size, _, padding, output_padding, dilation in options(stride):
        full_length = max(scatter(length, filter_size, stride, dilation)) + 1
        expected = expected_window(full_length, length, stride, padding, output_padding)
        arguments = length, filter_size, stride, padding, output_padding, dilation
        if not expected:
            refused += 1
            with pytest.raises(ValueError, match="padding must leave at least one output sample"):
                geometry(*arguments)
            continue
        g = geometry(*arguments)
        assert (g.length, g.filter_size, g.stride, g.dilation) == (length, filter_size, stride, dilation)
        assert g.full_length == full_length, g
        assert window(g) == expected, g
        assert g.right == full_length + g.extension - expected.stop, g
        assert min(g.left, g.right, g.extension) >= 0, g
        if padding == "same":
            assert not g.extension or g.left == g.right == 0, g
        else:
            assert g.extension == output_padding
    assert refused


@pytest.mark.parametrize("stride", STRIDES)
def test_branches_are_the_scatter_definition(stride):
    for g, reached in geometries(stride):
        kept = [(row, branch, t) for row, branch, t in branch_samples(g) if t in window(g)]
        assert len({t for _, _, t in kept}) == len(kept), f"a sample belongs to two branches: {g}"
        found = {t: branch_taps(g, row, branch) for row, branch, t in kept}
        for t in window(g):
            assert found.get(t, set()) == reached.get(t, set()), (g, t)


@pytest.mark.parametrize("stride", STRIDES)
def test_interleaved_rows_are_the_output(stride):
    for g, _ in geometries(stride):
        assert g.is_interleaved == (g.dilation == 1 or g.stride == 1)
        if not g.is_interleaved:
            continue
        samples = [t for _, _, t in branch_samples(g)]
        assert samples == list(range(samples[0], samples[0] + g.rows * g.stride)), g
        assert samples[0] <= g.left < samples[0] + g.stride, f"the first row is needless or missing: {g}"
        assert samples[-1] - g.stride < window(g)[-1] <= samples[-1], f"the last row is needless or missing: {g}"


@pytest.mark.parametrize("stride", STRIDES)
def test_taps_and_halo_are_those_of_a_long_signal(stride):
    for filter_size, dilation in product(FILTER_SIZES, DILATIONS):
        g = geometry(40, filter_size, stride, (0, 0), 0, dilation)
        inputs = [[i for _, i in added] for added in scatter(40, filter_size, stride, dilation).values()]
        assert g.taps_per_branch == max(len(i) for i in inputs), g
        assert g.halo == max(max(i) - min(i) for i in inputs), g


@pytest.mark.parametrize("stride", STRIDES)
def test_rows_that_do_not_interleave_are_few(stride):
    """No row beyond the input and its halo, none that ends before the first kept sample or starts after the last."""
    for g, _ in geometries(stride):
        if not g.is_interleaved and g.rows:
            assert g.first_row + g.rows <= g.length + g.halo, g
            assert g.stride * (g.first_row + g.rows - 1) <= window(g)[-1], g
            assert g.stride * g.first_row + g.dilation * (g.branches - 1) >= g.left, g


def test_enumeration_is_varied():
    seen = [(g, reached) for stride in STRIDES for g, reached in geometries(stride)]
    assert len(seen) > 5000
    assert {g.branches for g, _ in seen} == {1, 2, 3, 4}
    assert {g.taps_per_branch for g, _ in seen} == {1, 2, 3, 4, 5, 6}
    assert {g.input_step for g, _ in seen} == {1, 2, 3, 4}
    assert {g.dilation for g, _ in seen} == {1, 2, 3, 4}
    assert max(g.halo for g, _ in seen) == 20
    assert {g.left for g, _ in seen} >= set(range(8))
    assert {g.right for g, _ in seen} >= set(range(6))
    assert {g.extension for g, _ in seen} == {0, 1, 2, 3}
    for is_interleaved in (False, True):
        chosen = [(g, reached) for g, reached in seen if g.is_interleaved == is_interleaved]
        assert any(g.left >= g.full_length for g, _ in chosen), "nothing is kept but the extension"
        assert any(g.first_row > 0 for g, _ in chosen)
        assert any(set(window(g)) - set(reached) for g, reached in chosen), "a sample that nothing reaches"
        assert any(g.branches > g.filter_size for g, _ in chosen), "a branch without taps"
    assert any(g.rows == 0 for g, _ in seen)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # length, filter_size, stride, padding, output_padding, dilation -> left, right, extension, output_length
        ((256, 16, 8, (4, 4), 0, 1), (4, 4, 0, 2048)),
        ((5, 4, 2, (1, 1), 1, 1), (1, 1, 1, 11)),
        ((5, 11, 4, "same", 0, 1), (3, 4, 0, 20)),
        ((5, 4, 4, "same", 0, 1), (0, 0, 0, 20)),
        ((5, 2, 5, "same", 0, 1), (0, 0, 3, 25)),
        ((5, 3, 2, "same", 0, 3), (2, 3, 0, 10)),
        ((5, 3, 6, "same", 0, 2), (0, 0, 1, 30)),
    ],
)
def test_golden_lengths(arguments, expected):
    g = geometry(*arguments)
    assert (g.left, g.right, g.extension, g.output_length) == expected


def test_golden_branches():
    """Numbers of the module's picture (stride 3, 5 taps), and of stride 4 with dilation 6, by hand."""
    g = geometry(3, 5, 3, (0, 0), 0, 1)
    assert (g.branches, g.taps_per_branch, g.input_step, g.halo, g.first_row, g.rows) == (3, 2, 1, 1, 0, 4)
    g = geometry(3, 5, 4, (0, 0), 0, 6)
    assert (g.branches, g.taps_per_branch, g.input_step, g.halo, g.first_row, g.rows) == (2, 3, 3, 6, 0, 9)


def test_long_signals_are_exact():
    g = geometry(2**40, 2**20 + 1, 2**10, (1, 2), 3, 1)
    assert g.output_length == (2**40 - 1) * 2**10 + 2**20 + 1
    assert g.rows == -(-(1 + g.output_length) // 2**10)


def test_geometry_is_made_once_and_frozen():
    g = geometry(4, 3, 2, (1, 0), 1, 1)
    expected = Geometry(length=4, filter_size=3, stride=2, dilation=1, left=1, right=0, extension=1)
    assert dataclasses.astuple(g) == dataclasses.astuple(expected)
    assert g is geometry(4, 3, 2, (1, 0), 1, 1)
    assert g is not geometry(4, 3, 2, (1, 0), 0, 1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        g.stride = 3


def exactly(message):
    return f"^{re.escape(message)}$"


@pytest.mark.parametrize("low", [0, 1])
@pytest.mark.parametrize("kind", [int, np.int8, np.int32, np.int64, np.uint8, np.uint64])
def test_integers_of_any_kind_become_int(kind, low):
    for value in (low, 7):
        number = as_integer("stride", kind(value), low)
        assert type(number) is int
        assert number == value


@pytest.mark.parametrize(("low", "rule"), [(0, "a non-negative int"), (1, "a positive int")])
@pytest.mark.parametrize(
    "value", [True, False, np.True_, 2.0, np.float32(2), 2j, "2", None, (2,), [2], np.array([2])], ids=repr
)
def test_other_kinds_are_refused(value, low, rule):
    with pytest.raises(TypeError, match=exactly(f"stride must be {rule}; got {value!r}")):
        as_integer("stride", value, low)


@pytest.mark.parametrize(
    ("value", "low", "rule"),
    [(-1, 0, "a non-negative int"), (np.int8(-3), 0, "a non-negative int"), (0, 1, "a positive int")],
)
def test_low_integers_are_refused(value, low, rule):
    with pytest.raises(ValueError, match=exactly(f"groups must be {rule}; got {value!r}")):
        as_integer("groups", value, low)


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        (0, (0, 0)),
        (3, (3, 3)),
        (np.int64(3), (3, 3)),
        ((1, 2), (1, 2)),
        ([1, 2], (1, 2)),
        ((np.uint8(1), np.int32(0)), (1, 0)),
        ("same", "same"),
    ],
    ids=repr,
)
def test_paddings(padding, expected):
    result = as_padding(padding)
    assert result == expected
    assert isinstance(result, str) or all(type(side) is int for side in result)


@pytest.mark.parametrize(
    ("padding", "error"),
    [
        ("valid", ValueError),
        ("Same", ValueError),
        ("", ValueError),
        (-1, ValueError),
        ((0, -1), ValueError),
        ((-1, 0), ValueError),
        ((), ValueError),
        ((1,), ValueError),
        ([1, 2, 3], ValueError),
        (True, TypeError),
        ((1, False), TypeError),
        (1.0, TypeError),
        ((0, 1.0), TypeError),
        ((1, (2, 3)), TypeError),
        (None, TypeError),
        ({1, 2}, TypeError),
        (np.array([1, 2]), TypeError),
    ],
    ids=repr,
)
def test_other_paddings_are_refused(padding, error):
    message = f"padding must be a non-negative int, (left, right) or 'same'; got {padding!r}"
    with pytest.raises(error, match=exactly(message)):
        as_padding(padding)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (4, 3, 2, (0, 0), 2, 1),
            "output_padding must be smaller than stride or dilation; got 2 with stride 2 and dilation 1",
        ),
        (
            (4, 3, 2, (0, 0), 3, 3),
            "output_padding must be smaller than stride or dilation; got 3 with stride 2 and dilation 3",
        ),
        ((4, 3, 2, "same", 1, 1), "output_padding must be 0 with padding 'same'; got 1"),
        (
            (2, 3, 2, (5, 0), 0, 1),
            "padding must leave at least one output sample; got (5, 0) for a full length of 5",
        ),
        (
            (2, 3, 2, (2, 4), 1, 1),
            "padding must leave at least one output sample; got (2, 4) for a full length of 5",
        ),
    ],
)
def test_impossible_geometries_are_refused(arguments, message):
    with pytest.raises(ValueError, match=exactly(message)):
        geometry(*arguments)
