"""Blocks: any cutting of a signal gives the bits of the whole."""

import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numba_tconv import ConvTranspose1d, Upsampler, upfirdn

BLOCKS = st.lists(st.sampled_from([0, 1, 2, 3, 7, 50, 400]), max_size=12)
RATES = st.sampled_from([1, 2, 3, 5, 13])
SEEDS = st.integers(0, 2**32 - 1)


def in_blocks(stream, x, axis, lengths, *, exchange=None):
    """Process x in blocks and the rest in one; `exchange` replaces the stream after each."""
    results, at = [], 0
    for length in [*lengths, x.shape[axis]]:
        block = np.take(x, range(at, min(at + length, x.shape[axis])), axis)
        at += block.shape[axis]
        results.append(stream.process(block))
        stream = exchange(stream) if exchange else stream
    return np.concatenate([*results, stream.flush()], axis)


def assert_same_bits(y, expected):
    assert y.dtype == expected.dtype
    assert y.shape == expected.shape
    assert y.tobytes() == expected.tobytes()


@settings(max_examples=150, deadline=None)
@given(
    seed=SEEDS, lengths=BLOCKS, up=RATES, down=RATES, taps=st.sampled_from([1, 2, 5, 60, 400]),
    shape=st.sampled_from([(), (1,), (3,), (20,), (2, 3)]), axis=st.integers(-3, 2),
    dtype=st.sampled_from(["float32", "float64", "complex64", "int16"]), length=st.sampled_from([1, 17, 300]),
)  # fmt: skip
def test_upsampler(seed, lengths, up, down, taps, shape, axis, dtype, length):
    rng = np.random.default_rng(seed)
    axis = max(-len(shape) - 1, min(len(shape), axis))
    shape = list(shape)
    shape.insert(axis if axis >= 0 else len(shape) + 1 + axis, length)
    x = (100 * rng.standard_normal(shape)).astype(dtype)
    h = rng.standard_normal(taps, dtype=np.float32)
    y = in_blocks(Upsampler(h, up, down, axis), x, axis, lengths)
    assert_same_bits(y, upfirdn(h, x, up, down, axis, method="direct"))


@pytest.mark.parametrize("rates", [(160, 147), (147, 160), (1, 7), (48, 1)])
def test_coprime_rates(rates, rng):
    x, h = rng.standard_normal(2000), rng.standard_normal(2000)
    y = in_blocks(Upsampler(h, *rates), x, 0, [1, 0, 13, 441, 441, 100])
    assert_same_bits(y, upfirdn(h, x, *rates, method="direct"))


def test_long_blocks_go_through_in_parts(rng):
    x, h = rng.standard_normal((2, 200_000), dtype=np.float32), rng.standard_normal(61, dtype=np.float32)
    assert_same_bits(in_blocks(Upsampler(h, 3, 2), x, -1, [150_000]), upfirdn(h, x, 3, 2))


def test_banks_and_complex_taps(rng):
    x = rng.standard_normal((3, 100))
    for h in (rng.standard_normal((3, 9)), rng.standard_normal((2, 1, 9)), rng.standard_normal(9) * (1 + 1j)):
        assert_same_bits(in_blocks(Upsampler(h, 2, 3), x, -1, [5, 0, 40]), upfirdn(h, x, 2, 3))


@settings(max_examples=150, deadline=None)
@given(
    seed=SEEDS, lengths=BLOCKS, stride=st.sampled_from([1, 2, 4, 20]), dilation=st.sampled_from([1, 1, 2, 3]),
    taps=st.sampled_from([1, 2, 4, 16]), padding=st.sampled_from([0, 1, "same", (3, 2), (0, 9), "causal"]),
    filters=st.sampled_from([1, 5, 40]), groups=st.sampled_from([1, 2]), batch=st.sampled_from([None, 1, 3]),
    output_padding=st.sampled_from([0, 1]),
)  # fmt: skip
def test_layers(seed, lengths, stride, dilation, taps, padding, filters, groups, batch, output_padding):
    rng = np.random.default_rng(seed)
    if padding == "causal":
        padding = (0, max(0, taps - stride))
    if padding == "same" or max(stride, dilation) == 1:
        output_padding = 0
    weight = rng.standard_normal((2 * groups, filters, taps), dtype=np.float32)
    op = ConvTranspose1d(
        weight, rng.standard_normal(filters * groups, dtype=np.float32), stride=stride, padding=padding,
        groups=groups, dilation=dilation, output_padding=output_padding,
    )  # fmt: skip
    x = rng.standard_normal((2 * groups, 70) if batch is None else (batch, 2 * groups, 70), dtype=np.float32)
    assert_same_bits(in_blocks(op.stream(), x, -1, lengths), op(x))


@pytest.mark.parametrize(("dtype", "weight_dtype"), ["ff", "dd", "Ff", "FF", "fF", "ef"])
@pytest.mark.parametrize(("stride", "dilation", "taps"), [(1, 1, 3), (1, 3, 5), (2, 1, 4), (3, 2, 9), (5, 1, 5)])
def test_blocks_too_short_for_the_path_of_long_signals(dtype, weight_dtype, stride, dilation, taps, rng):
    weight = rng.standard_normal((5, 16, taps)).astype(weight_dtype)
    op = ConvTranspose1d(weight, np.arange(16.0), stride=stride, dilation=dilation, padding=(1, 2))
    x = rng.standard_normal((2, 5, 1500)).astype(dtype)
    assert_same_bits(in_blocks(op.stream(), x, -1, [5, 0, 300, 1, 700]), op(x))


@pytest.mark.parametrize("dtype", ["f", "d"])
@pytest.mark.parametrize(
    ("filters", "stride", "dilation", "taps"),
    [(1, 2, 1, 4), (1, 5, 1, 12), (3, 4, 1, 7), (1, 1, 3, 5), (1, 16, 1, 50), (16, 2, 1, 5)],
)
def test_blocks_whose_channels_lie_side_by_side(dtype, filters, stride, dilation, taps, rng):
    """Layers whose channels see no other: short blocks take another path than the whole signal."""
    weight, bias = rng.standard_normal((40, filters, taps)).astype(dtype), np.arange(40.0 * filters)
    op = ConvTranspose1d(weight, bias, stride=stride, dilation=dilation, groups=40, padding=(1, 2))
    x = rng.standard_normal((2, 40, 700)).astype(dtype)
    assert_same_bits(in_blocks(op.stream(), x, -1, [5, 0, 300, 1, 8, 30, 33]), op(x))


def test_causal_layers_hold_nothing_back(rng):
    """A frame in, `stride` samples out: what a decoder needs in real time; the bias counts once."""
    op = ConvTranspose1d(np.ones((4, 3, 8), np.float32), np.full(3, 0.5, np.float32), stride=4, padding=(0, 4))
    stream = op.stream()
    for _ in range(5):
        assert stream.process(np.zeros((4, 1), np.float32)).shape == (3, 4)
    np.testing.assert_array_equal(stream.process(np.zeros((4, 2), np.float32)), np.full((3, 8), 0.5))
    assert stream.flush().shape == (3, 0)


def test_what_is_cut_from_the_right_is_held_back():
    stream = ConvTranspose1d(np.ones((1, 1, 4)), stride=2, padding=(1, 5)).stream()
    lengths = [stream.process(np.ones((1, 1))).shape[1] for _ in range(5)]
    assert lengths == [0, 0, 2, 2, 2]
    assert stream.flush().shape == (1, 0)


def test_state_moves_a_stream(rng):
    x, h = rng.standard_normal((300, 2)), rng.standard_normal(40)

    def exchange(stream):
        other = Upsampler(h, 3, 2, axis=0)
        other.state = pickle.loads(pickle.dumps(stream.state))  # noqa: S301 our own
        return other

    y = in_blocks(Upsampler(h, 3, 2, axis=0), x, 0, [0, 5, 1, 0, 100], exchange=exchange)
    assert_same_bits(y, upfirdn(h, x, 3, 2, axis=0))


def test_state_is_a_snapshot(rng):
    x = rng.standard_normal(50)
    stream = Upsampler([1.0, 2.0, 3.0, 4.0], 2)
    stream.process(x[:10])
    state = stream.state
    first = stream.process(x[10:])
    stream.state = state
    np.testing.assert_array_equal(stream.process(x[10:]), first)


def test_flush_and_reset_begin_anew(rng):
    x, h = rng.standard_normal(30), rng.standard_normal(9)
    stream = Upsampler(h, 2)
    whole = upfirdn(h, x, 2)
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate([stream.process(x), stream.flush()]), whole)
    stream.process(x)
    stream.reset()
    np.testing.assert_array_equal(np.concatenate([stream.process(x), stream.flush()]), whole)
    assert stream.flush().shape == (0,)
    assert stream.process(np.ones((2, 3))).shape == (2, 6)  # a new signal may have another shape


def test_a_refused_block_changes_nothing(rng):
    x, h = rng.standard_normal((2, 30), dtype=np.float32), rng.standard_normal(9, dtype=np.float32)
    stream = Upsampler(h, 2)
    parts = [stream.process(x[:, :10])]
    with pytest.raises(ValueError, match=r"block must have the shape \(2, 10\), as the first one; got \(3, 10\)"):
        stream.process(np.ones((3, 10), np.float32))
    with pytest.raises(TypeError, match="block must have the dtype float32 of the first one; got float64"):
        stream.process(np.ones((2, 10)))
    with pytest.raises(ValueError, match=r"out must have the shape \(2, 40\); got \(2, 41\)"):
        stream.process(x[:, 10:], out=np.empty((2, 41), np.float32))
    with pytest.raises(TypeError, match="block must be an array of"):
        stream.process([["a", "b"]])
    parts += [stream.process(x[:, 10:]), stream.flush()]
    np.testing.assert_array_equal(np.concatenate(parts, axis=-1), upfirdn(h, x, 2))
    with pytest.raises(ValueError, match=r"state must be of a stream that keeps 4 samples; got the shape \(9,\)"):
        stream.state = (np.zeros(9), 0, 0)
    with pytest.raises(ValueError, match="weight has 2 input channels, x has 3"):
        ConvTranspose1d(np.ones((2, 1, 3))).stream().process(np.ones((3, 5)))


def test_delay_is_the_lag_of_symmetric_taps():
    x = np.zeros(20)
    x[10] = 1
    for up, down in ((4, 1), (4, 2)):
        upsampler = Upsampler(np.bartlett(17), up, down)
        y = np.concatenate([upsampler.process(x), upsampler.flush()])
        assert y.argmax() == 10 * up / down + upsampler.delay


def test_a_block_allocates_nothing_that_lasts(rng):
    """With `out`, a call takes some scratch, less than a quarter of this block, and gives it back."""
    x = rng.standard_normal(48000, dtype=np.float32)
    upsampler = Upsampler(rng.standard_normal(81, dtype=np.float32), 4)
    out = np.empty(4 * x.size, np.float32)
    for _ in range(3):
        upsampler.process(x, out=out)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(50):
        upsampler.process(x, out=out)
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 4096
    assert peak - before < x.nbytes / 4


def test_the_state_of_a_stream_that_has_not_begun(rng):
    """Set on one in the middle of a signal, it makes that begin anew."""
    x, h = rng.standard_normal(50), [1.0, 2.0, 3.0, 4.0]
    stream = Upsampler(h, 2)
    begun = stream.state
    stream.process(x[:20])
    stream.state = begun
    assert_same_bits(in_blocks(stream, x, 0, [30]), upfirdn(h, x, 2))
