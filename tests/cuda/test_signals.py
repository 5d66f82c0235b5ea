"""The signal face on the simulated GPU against SciPy."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.signal
from cases import random_values
from helpers import here, there

from numba_tconv import ConvTranspose1d, Upsampler, backends, conv_transpose1d, resample_poly, upfirdn
from numba_tconv.backends.cuda import launch

TOLERANCE = {"f": 2e-6, "d": 1e-14, "F": 2e-6, "D": 1e-14}


@pytest.mark.parametrize("seed", range(80))
def test_upfirdn(seed):
    rng, values = random.Random(seed), np.random.default_rng(seed)  # noqa: S311 nothing secret
    up, down = rng.choice(((1, 1), (2, 1), (4, 1), (3, 2), (2, 3), (5, 4), (1, 3)))
    shape = tuple(rng.randint(1, 5) for _ in range(rng.choice((0, 1, 1, 2))))
    axis = rng.randrange(len(shape) + 1)
    x_dtype, h_dtype = rng.choice(("ff", "ff", "dd", "Ff", "fF", "FF", "DD", "hf", "ef"))
    x = random_values(values, (*shape[:axis], rng.randint(1, 40), *shape[axis:]), x_dtype)
    h = random_values(values, (rng.randint(1, 30),), h_dtype)
    if seed % 2 and x_dtype != "h":
        x = x[..., ::-1] if seed % 4 == 1 else np.asfortranarray(x)
        y = here(upfirdn(h if seed % 8 > 3 else there(h), there(x), up, down, axis))
    else:
        y = upfirdn(h, x, up, down, axis, device="cuda")
    expected = scipy.signal.upfirdn(h.astype("D"), x.astype("D"), up, down, axis)
    magnitude = np.abs(h).sum() * np.abs(x).max()
    assert y.dtype == np.result_type(h, x, np.float32)
    assert np.abs(y - expected).max() <= TOLERANCE[y.dtype.char] * magnitude


@pytest.mark.parametrize("mode", ["wrap", "symmetric", "line"])
def test_modes_of_host_arrays(mode, rng):
    x, h = rng.standard_normal((2, 20)), rng.standard_normal(9)
    y = upfirdn(h, x, 3, 2, mode=mode, device="cuda")
    np.testing.assert_allclose(y, scipy.signal.upfirdn(h, x, 3, 2, mode=mode), atol=1e-13)


def test_banks(rng):
    x = rng.standard_normal((2, 3, 20))
    for bank, (up, down) in (((3, 7), (2, 1)), ((2, 1, 7), (3, 2)), ((2, 3, 7), (2, 3)), ((4, 1, 1, 7), (2, 1))):
        h = rng.standard_normal(bank)
        expected = upfirdn(h, x, up, down, device="cpu")
        np.testing.assert_allclose(here(upfirdn(h, there(x), up, down)), expected, atol=1e-13)
        np.testing.assert_allclose(upfirdn(h, x, up, down, device="cuda"), expected, atol=1e-13)


def test_out(rng):
    x, h, out = rng.standard_normal(20), rng.standard_normal(5), np.empty((2, 43))[:, ::-1]
    target = there(out[1])
    assert upfirdn(h, there(x), 2, out=target) is target
    np.testing.assert_allclose(here(target), scipy.signal.upfirdn(h, x, 2), atol=1e-13)


def test_resample_poly(rng):
    x = rng.standard_normal((50, 2))
    for up, down in ((3, 2), (2, 3), (4, 4)):
        expected = scipy.signal.resample_poly(x, up, down)
        np.testing.assert_allclose(here(resample_poly(there(x), up, down)), expected, atol=1e-13)
        np.testing.assert_allclose(resample_poly(x, up, down, padtype="mean", device="cuda"),
                                   scipy.signal.resample_poly(x, up, down, padtype="mean"), atol=1e-13)  # fmt: skip


def test_the_environment_decides_for_layers_and_signals_alike(monkeypatch):
    monkeypatch.setattr(backends, "DEFAULT", "cpu")
    for call in (lambda x: upfirdn([1.0, 2.0], x), lambda x: conv_transpose1d(x, np.ones((1, 1, 2)))):
        with pytest.raises(ValueError, match="device must be 'auto' or 'cuda' where x is on a GPU; got 'cpu'"):
            call(there(np.ones((1, 5))))


def test_streams(rng):
    x, h = rng.standard_normal(30).astype("f"), rng.standard_normal(7).astype("f")
    stream = Upsampler(h, 3, 2, device="cuda")
    blocks = [stream.process(block) for block in np.split(x, (1, 1, 12, 25))] + [stream.flush()]
    np.testing.assert_array_equal(np.concatenate(blocks), upfirdn(h, x, 3, 2, device="cuda"))
    plan = ConvTranspose1d(rng.standard_normal((2, 3, 5)), stride=2, padding=(0, 3), device="cuda")
    x = rng.standard_normal((2, 11))
    stream = plan.stream()
    blocks = [stream.process(block) for block in np.split(x, (2, 7), axis=1)] + [stream.flush()]
    np.testing.assert_allclose(np.concatenate(blocks, axis=1), plan(x), atol=1e-13)


@pytest.mark.parametrize(("options", "message"), [
    ({"mode": "wrap"}, "mode must be 'constant' with cval 0 where x is on a GPU; got 'wrap'"),
    ({"cval": 1}, "mode must be 'constant' with cval 0 where x is on a GPU; got 'constant' with 1"),
    ({"method": "fft"}, "method must be 'auto' or 'direct' on a GPU; got 'fft'"),
    ({"device": "cpu"}, "device must be 'auto' or 'cuda' where x is on a GPU; got 'cpu'"),
])  # fmt: skip
def test_what_a_gpu_does_not_do(options, message):
    with pytest.raises(ValueError, match=message):
        upfirdn([1.0, 2.0], there(np.ones(5)), 2, **options)


def test_threads_take_turns(monkeypatch):
    """The taps that one launch has packed wait for its second kernel, in memory that all launches on a stream share."""
    order = []

    def bind(kernel, blocks, threads, memories, problem, device):
        def run(addresses, stream):
            order.append(type(problem).__name__)
            time.sleep(0.05)

        return run

    monkeypatch.setattr(launch, "bind", bind)
    monkeypatch.setattr(launch, "change_rate", launch.change_rate.__wrapped__)  # which keeps no launch
    x = there(np.ones(40))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda taps: upfirdn(np.ones(taps), x, 3, 2), (7, 8)))
    assert order == ["Packing", "Problem"] * 2
