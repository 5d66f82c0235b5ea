"""Random cases of all three passes, and changes of rate, by kernels that are plain Python."""

import numpy as np
import pytest
import scipy.signal
from cases import Case, assert_close, assert_gradients_close, random_values, small_cases

from numba_tconv import conv_transpose1d, conv_transpose1d_backward, upfirdn
from numba_tconv.backends.cpu import (
    backward,
    columns,
    decimation,
    depthwise,
    direct,
    dots,
    fir,
    forward,
    grad_weight,
    grad_x,
    panels,
    polyphase,
    rational,
    segments,
    sparse,
    turning,
    windows,
    winograd,
)
from numba_tconv.backends.cpu.staging import float_to_half, half_to_float
from numba_tconv.boundaries import MODES

CASES = small_cases(5, 200, 20_000)


def check_forward(case):
    """Compare with the references."""
    x, weight, bias = case.arrays()
    expected, magnitude = case.expected(x, weight, bias)
    y = conv_transpose1d(x, weight, bias, out=case.out(), **case.options)
    assert_close(y, expected, magnitude)


def check_gradients(case):
    """Compare with the definition."""
    x, weight, _ = case.arrays()
    batch = () if case.batch is None else (case.batch,)
    g = random_values(
        np.random.default_rng(case.seed), (*batch, case.groups * case.filters, case.output_length), case.dtype.name
    )
    gradients = conv_transpose1d_backward(g, x, weight, **case.options)
    assert_gradients_close(gradients, case, g, x, weight)


@pytest.mark.parametrize("number", range(len(CASES)))
def test_forward(number, monkeypatch):
    monkeypatch.setattr(fir, "CHANNELS_AT_ONCE", 2)
    monkeypatch.setattr(direct, "FEWEST_ROWS", 1)
    check_forward(CASES[number])


@pytest.mark.parametrize("number", range(0, len(CASES), 2))
def test_gradients(number, monkeypatch):
    monkeypatch.setattr(backward, "x_path", lambda *_: (dots, windows, grad_x)[number % 6 // 2])
    monkeypatch.setattr(dots, "MOST_LANES", 20)
    monkeypatch.setattr(windows, "serves_weight", lambda *_: number % 6 == 2)
    for constant in ("MOST_SAMPLES_X", "MOST_SAMPLES_WEIGHT", "FEWEST_SAMPLES"):
        monkeypatch.setattr(windows, constant, 8)
    monkeypatch.setattr(windows, "SORTED_BYTES", 128)
    check_gradients(CASES[number])


# What random cases of this size do not reach, mostly of the gradients: blocks, and orders of staging.
MORE = {
    "few samples of short signals": Case(9, 1, 3, 4, 5, 2, 2),
    "windows far apart": Case(1, 1, 2, 3, 11, 40, 11),
    "windows far apart, few taps": Case(1, 1, 2, 130, 2, 40, 40),
    "windows far apart of a strange stride": Case(1, 1, 2, 3, 40, 43, 37),
    "lines too long": Case(1, 1, 1, 2, 3, 12, 400),
    "lines too long, taps apart": Case(1, 1, 1, 2, 3, 12, 400, dilation=3),
    "taps too far apart": Case(1, 1, 1, 5, 3, 12, dilation=1000, padding=(1000, 1000)),
    "long": Case(1, 1, 1, 2, 3, 3000),
    "long and half": Case(1, 1, 2, 2, 3, 1500, 2, x_dtype="float16", weight_dtype="float16"),
    "half, stepped": Case(2, 1, 3, 2, 3, 40, 2, x_dtype="float16", weight_dtype="float16", x_layout="stepped"),
    "blocks of channels": Case(2, 1, 20, 12, 4, 9, 2),
    "blocks of taps": Case(1, 1, 3, 12, 40, 9, 2),
    "packed on the way": Case(2, 1, 9, 24, 5, 9, 2, padding=(1, 2), bias_dtype="float32"),
    "packed on the way, blocks of rows": Case(5, 1, 9, 24, 5, 60, 2),
    "packed on the way, blocks of taps": Case(1, 2, 3, 12, 40, 17, 2, x_layout="stepped"),
    "packed on the way, one behind the other": Case(1, 1, 9, 1, 130, 17, 36, dilation=5),
    "packed on the way, complex taps": Case(2, 1, 5, 24, 5, 9, 2, x_dtype="complex64", weight_dtype="complex64"),
    "signals that see no other": Case(2, 5, 1, 1, 5, 70, 2, padding=(2, 1)),
    "channels side by side": Case(3, 13, 1, 2, 5, 11, 3, padding=(2, 9), bias_dtype="float32"),
    "channels side by side, taps apart": Case(2, 9, 1, 1, 4, 9, dilation=3, padding=(1, 2)),
    "channels side by side, long filters": Case(2, 5, 1, 1, 600, 14, 41),
    "channels side by side, blocks of time": Case(2, 5, 1, 1, 60, 40, 41),
    "turned": Case(
        2,
        1,
        5,
        12,
        4,
        30,
        2,
        x_layout="channels side by side",
        out_layout="channels side by side",
        bias_dtype="float32",
    ),
    "direct": Case(2, 1, 3, 12, 4, 30, 2, padding=(1, 2), bias_dtype="float32"),
    "direct, shares of filters": Case(1, 1, 3, 12, 4, 9, 2),
    "direct, groups": Case(1, 2, 3, 12, 3, 40, dilation=2, x_layout="stepped", out_layout="stepped"),
    "direct, pairs": Case(2, 1, 3, 12, 4, 30, 2, x_dtype="complex64", bias_dtype="complex64"),
    "direct, complex taps": Case(2, 1, 3, 12, 4, 30, 2, x_dtype="complex64", weight_dtype="complex64"),
    "three for four": Case(2, 1, 7, 3, 4, 21, 2, padding=(1, 2)),
    "three for four, blocks": Case(1, 2, 9, 5, 6, 70, 3, x_layout="stepped", out_layout="stepped"),
    "three for four, short signals": Case(3, 1, 7, 2, 4, 3, 2, padding=1),
    "three for four, complex": Case(1, 1, 3, 2, 2, 20, x_dtype="complex64", weight_dtype="complex64"),
    "three for four, half": Case(1, 1, 7, 2, 4, 9, 2, x_dtype="float16", weight_dtype="float16"),
    "read in place": Case(1, 1, 50, 20, 16, 1, 8, padding=4, bias_dtype="float32"),
    "read in place, several samples": Case(3, 1, 50, 21, 15, 5, 8, padding=(3, 9), x_layout="stepped"),
    "read in place, taps apart": Case(2, 2, 50, 17, 5, 7, 2, dilation=3, output_padding=2, bias_dtype="float32"),
}


@pytest.mark.parametrize("name", MORE)
def test_more(name, monkeypatch):
    small = {"REDUCTION_BLOCK": 8, "FEWEST_WEIGHTS": 1 << 9, "FEWEST_ROWS": 24, "BLOCK_SIZE": 256, "BLOCK_LANES": 4}
    for constant, value in small.items():
        monkeypatch.setattr(panels, constant, value)
    # Each on its own path, or the call fails.
    if name.startswith("packed on the way"):
        monkeypatch.setattr(forward, "pack", None)
    if name.startswith("channels"):
        monkeypatch.setattr(forward, "fir", None)
        monkeypatch.setattr(backward, "_weight_problem", None)
    if name.startswith("direct"):
        monkeypatch.setattr(direct, "FEWEST_ROWS", 1)
        monkeypatch.setattr(direct, "STAGE_BYTES", 1 << 8)
        monkeypatch.setattr(panels, "kernel", None)
    if name.startswith("three for four"):
        monkeypatch.setattr(backward, "x_path", lambda *_: winograd)
        monkeypatch.setattr(winograd, "FEWEST_SAMPLES", 8)
        monkeypatch.setattr(winograd, "SORTED_BYTES", 256)
    if name.startswith("read in place"):
        monkeypatch.setattr(panels, "packs_on_the_way", None)
    for module in (grad_weight, grad_x, dots):
        monkeypatch.setattr(module, "LINE_BYTES", 1 << 11)
    monkeypatch.setattr(dots, "WINDOW_NUMBERS", 1 << 10)
    monkeypatch.setattr(decimation, "MOST_RESULTS", 32)
    monkeypatch.setattr(depthwise, "BLOCK_NUMBERS", 1 << 6)
    monkeypatch.setattr(turning, "FEWEST_NUMBERS", 1)
    check_forward(MORE[name])
    check_gradients(MORE[name])


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("value", [0.0, 1.0, 65519.0, 65520.0, 1e9, 2.0**-14, 2.0**-24, 2.0**-25, 1e-9, np.inf, np.nan])
def test_half(value):
    """NumPy's rounding, and back."""
    for sign in (1, -1):
        expected = np.float32(sign * value).astype(np.float16)
        bits = np.uint16(float_to_half(np.float32(sign * value)))
        assert bits.view(np.float16) == expected or np.isnan(expected)
        back = half_to_float(np.uint32(bits))
        assert back == np.float32(expected) or np.isnan(back)


@pytest.mark.parametrize(("up", "down"), [(3, 1), (3, 2), (2, 3), (1, 5), (7, 8), (9, 16), (40, 3), (1, 40)])
@pytest.mark.parametrize(("dtype", "h_dtype"), ["ff", "dd", "Ff", "FF", "fF"])
@pytest.mark.parametrize(
    ("fastest", "phases", "size"),
    [
        (rational, 512, 1 << 14),
        (rational, 12, 1 << 14),
        (rational, 512, 64),
        (sparse, 1, 1),
        (columns, 1, 1),
        (segments, 1, 1),
        (fir, 1, 1),
    ],
)
def test_rates(up, down, dtype, h_dtype, fastest, phases, size, monkeypatch):
    """Against SciPy: signals along both axes, alone and beside others, at once and in blocks of phases and periods."""
    monkeypatch.setattr(rational, "BLOCK_OF_PHASES", phases)
    monkeypatch.setattr(rational, "BLOCK_SIZE", size)
    monkeypatch.setattr(segments, "BLOCK_SIZE", 1 << 9)
    monkeypatch.setattr(segments, "FEWEST_OUTPUTS", 3)
    for module in (rational, sparse, columns, segments, fir):
        monkeypatch.setattr(module, "cost", lambda *_, is_fastest=module is fastest: 0 if is_fastest else 1e9)
    polyphase._call.cache_clear()
    polyphase._call_side_by_side.cache_clear()
    rng = np.random.default_rng(up)
    long = min(130, 600 * down // up)  # every output takes its time here
    for length, taps in ((1, 2), (70, 1), (long, max(up, down) - 1), (long, 3 * max(up, down) + 1)):
        x, h = random_values(rng, (length, 5), dtype), random_values(rng, (taps,), h_dtype)
        expected = scipy.signal.upfirdn(h.astype("D"), x.astype("D"), up, down, axis=0)
        bound = 1e-5 * scipy.signal.upfirdn(np.abs(h), np.abs(x), up, down, axis=0).max()
        assert np.abs(upfirdn(h, x, up, down, axis=0) - expected).max() <= bound
        assert np.abs(upfirdn(h, np.ascontiguousarray(x.T), up, down).T - expected).max() <= bound
        out = np.empty((2 * expected.shape[0],), np.result_type(dtype, h_dtype))[::2]
        assert np.abs(upfirdn(h, x[:, 0], up, down, out=out) - expected[:, 0]).max() <= bound


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [2, 7, 30])
def test_ends(mode, length, rng):
    """Against SciPy: continued by less than a signal, and by several of it; along both axes, forwards and backwards."""
    h = rng.standard_normal(33)
    for x in (
        rng.standard_normal((length, 3)),
        random_values(rng, (3, length), "D").T,
        rng.standard_normal((length, 3))[::-1],
    ):
        expected = scipy.signal.upfirdn(h, x, 3, 2, axis=0, mode=mode)
        np.testing.assert_allclose(upfirdn(h, x, 3, 2, axis=0, mode=mode), expected, atol=1e-9)
        np.testing.assert_allclose(upfirdn(h, x.T, 3, 2, mode=mode).T, expected, atol=1e-9)
        np.testing.assert_allclose(upfirdn(h, x[:, 1], 3, 2, mode=mode), expected[:, 1], atol=1e-9)
