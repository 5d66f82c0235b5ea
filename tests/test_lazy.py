"""Dask: lazy in, lazy out, the bits of the one call, whatever the chunks and the scheduler.

The one call on NumPy arrays is the oracle here: its own tests compare it with SciPy and with the definition.
"""

import random
import subprocess
import sys
import threading
from itertools import pairwise

import numba
import numpy as np
import pytest

from numba_tconv import ConvTranspose1d, conv_transpose1d, resample_poly, upfirdn
from numba_tconv.backends.cpu import threads
from numba_tconv.boundaries import MODES

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

DTYPES = ("float32", "float64", "complex64", "int16")


def samples(rng, shape, dtype):
    values = rng.standard_normal((*shape, 2)) * 10
    return (values.view(complex)[..., 0] if np.dtype(dtype).kind == "c" else values[..., 0]).astype(dtype)


def lazy(draw, x):
    """Return `x` in random chunks along every axis, many of them shorter than any halo."""
    chunks = []
    for size in x.shape:
        cuts = draw.sample(range(1, size), draw.randint(0, min(size - 1, 20))) if size > 1 else []
        chunks.append(tuple(b - a for a, b in pairwise([0, *sorted(cuts), size])))
    return da.from_array(x, chunks=tuple(chunks))


def assert_same(y, expected, *, exactly=True):
    assert isinstance(y, da.Array)
    assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
    with dask.config.set(scheduler="synchronous"):
        result = y.compute()
        block = y.blocks[(-1,) * y.ndim]
        assert block.compute().shape == block.shape
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    if exactly:
        np.testing.assert_array_equal(result, expected)
    else:
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("seed", range(120))
def test_upfirdn(seed):
    draw, rng = random.Random(seed), np.random.default_rng(seed)  # noqa: S311
    ndim = draw.choice((1, 1, 2, 3))
    axis = draw.randrange(-ndim, ndim)
    shape = [draw.randint(1, 3) for _ in range(ndim)]
    shape[axis] = draw.choice((1, 2, 5, 30, 100, 300))
    lead = [draw.choice((1, size)) for k, size in enumerate(shape) if k != axis % ndim]
    bank = draw.choice(([], [], lead, [2, *lead]))
    x = samples(rng, shape, draw.choice(DTYPES))
    h = samples(rng, (*bank, draw.choice((1, 2, 5, 20, 63))), draw.choice(("float32", "float64", "complex64")))
    mode = MODES[seed % len(MODES)]
    options = {"up": draw.choice((1, 2, 3, 70)), "down": draw.choice((1, 2, 3, 25)), "axis": axis, "mode": mode}
    if mode == "constant":
        options["cval"] = draw.choice((0, 2))
    assert_same(upfirdn(h, lazy(draw, x), **options), upfirdn(h, x, **options))


@pytest.mark.parametrize("padtype", [*MODES, "mean", "median", "minimum", "maximum"])
@pytest.mark.parametrize(("up", "down"), [(3, 2), (2, 25), (4, 4)])
def test_resample_poly(up, down, padtype):
    draw, rng = random.Random(f"{up}/{down} {padtype}"), np.random.default_rng(up)  # noqa: S311
    for shape, axis, dtype in (((200,), 0, "float32"), ((70, 2), 0, "float64"), ((3, 60), -1, "int16")):
        x = samples(rng, shape, dtype)
        y = resample_poly(lazy(draw, x), up, down, axis, padtype=padtype)
        # A mean of chunks' sums is rounded in another order.
        assert_same(y, resample_poly(x, up, down, axis, padtype=padtype), exactly=padtype != "mean")


@pytest.mark.parametrize("seed", range(40))
def test_conv_transpose1d(seed):
    draw, rng = random.Random(seed), np.random.default_rng(seed)  # noqa: S311
    groups, filters, dilation = draw.choice((1, 2)), draw.choice((1, 2, 20)), draw.choice((1, 1, 2, 3))
    channels, size, length = groups * draw.choice((1, 3)), draw.choice((1, 2, 5, 16)), draw.choice((6, 40, 150))
    x = samples(rng, draw.choice(((channels, length), (3, channels, length))), draw.choice(DTYPES))
    weight = samples(rng, (channels, filters, size), "float32")
    bias = draw.choice((None, samples(rng, (filters * groups,), "float32")))
    options = {"stride": draw.choice((2, 3)), "groups": groups, "dilation": dilation}
    options |= draw.choice(({"padding": "same"}, {"padding": (0, 5)}, {"padding": (7, 1), "output_padding": 1}))
    expected = conv_transpose1d(x, weight, bias, **options)
    assert_same(conv_transpose1d(lazy(draw, x), weight, bias, **options), expected)
    assert_same(ConvTranspose1d(weight, bias, **options)(lazy(draw, x)), expected)


@pytest.mark.parametrize("dtype", ["float16", "bool", ">f4"])
def test_blocks_of_rarer_dtypes(dtype, rng):
    x = rng.standard_normal(100).astype(dtype)
    assert_same(upfirdn([1.0, 2.0, 3.0], da.from_array(x, chunks=30), 2), upfirdn([1.0, 2.0, 3.0], x, 2))


def test_fft_goes_block_by_block(rng):
    x, h = rng.standard_normal(5000), rng.standard_normal(301)
    y = upfirdn(h, da.from_array(x, chunks=1000), 2, 3, method="fft")
    assert y.numblocks == (5,)
    np.testing.assert_allclose(y.compute(), upfirdn(h, x, 2, 3, method="direct"), atol=1e-11)


def loaded_blocks(y, loaded):
    loaded.clear()
    y.compute(scheduler="synchronous")
    return sorted(loaded)


def test_an_output_chunk_needs_its_own_input_and_the_chunk_before():
    loaded = []

    def load(block_id):
        loaded.append(block_id[0])
        return np.ones(100)

    x = da.map_blocks(load, chunks=((100,) * 10,), dtype=float, meta=np.empty(0))
    h = np.ones(81)
    y = upfirdn(h, x, 4)
    assert y.chunks == ((400,) * 9 + (400 + 77,),)
    assert loaded_blocks(y.blocks[5], loaded) == [4, 5]
    assert loaded_blocks(upfirdn(h, x, 4, mode="wrap").blocks[0], loaded) == [0, 9]
    assert loaded_blocks(upfirdn(h, x, 4, mode="line").blocks[5], loaded) == [4, 5]
    middle = conv_transpose1d(x[None], h[None, None], stride=4, padding=(900, 900))
    assert loaded_blocks(middle, loaded) == [2, 3, 4, 5, 6, 7]


def test_chunks_shorter_than_the_halo_are_merged():
    x = da.ones(1000, chunks=10)
    assert upfirdn(np.ones(101), x, 4).chunks == ((120,) * 32 + (160 + 97,),)  # 25 samples of halo
    # Of 10 samples, 1 in 25 outputs: none to two of them, and so many chunks as there are outputs.
    assert upfirdn(np.ones(2), x, 1, 25).chunks == ((1,) * 39 + (2,),)
    assert upfirdn(np.ones(5000), x, 1).numblocks == (1,)


def test_a_graph_is_built_without_numba():
    code = """
import sys
import numpy as np
import dask.array as da
from numba_tconv import conv_transpose1d, resample_poly, upfirdn

x = da.ones((4, 1000), chunks=(2, 100))
upfirdn(np.ones(9), x, 2, mode="wrap")
upfirdn(np.ones((4, 9)), x, 2)
resample_poly(x, 3, 2, axis=1, padtype="median")
conv_transpose1d(x, np.ones((4, 2, 9)), np.ones(2), stride=2)
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


# -- schedulers ----------------------------------------------------------------------------------------------------


def graphs(rng):
    """Yield (lazy, expected), with work enough for parallel kernels were they allowed."""
    x = rng.standard_normal((2, 200_000)).astype(np.float32)
    d = da.from_array(x, chunks=(1, 50_000))
    h, weight = rng.standard_normal(81).astype(np.float32), rng.standard_normal((2, 3, 16)).astype(np.float32)
    yield upfirdn(h, d, 4), upfirdn(h, x, 4)
    yield resample_poly(d.T, 3, 2), resample_poly(x.T, 3, 2)
    yield conv_transpose1d(d, weight, stride=4), conv_transpose1d(x, weight, stride=4)


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_scheduler(scheduler, rng):
    lazy_ones, expected = zip(*graphs(rng), strict=True)
    with dask.config.set(scheduler=scheduler, num_workers=2):
        for y, z in zip(dask.compute(*lazy_ones), expected, strict=True):
            np.testing.assert_array_equal(y, z)


def test_distributed(rng):
    distributed = pytest.importorskip("distributed")
    lazy_ones, expected = zip(*graphs(rng), strict=True)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        for y, z in zip(client.gather(client.compute(lazy_ones)), expected, strict=True):
            np.testing.assert_array_equal(y, z)


def test_workers_run_serial_kernels(rng, monkeypatch):
    counts, launch = [], threads.launch

    def counting(kernel, arguments, n_workers):
        counts.append((n_workers, threading.get_ident()))
        launch(kernel, arguments, n_workers)

    monkeypatch.setattr(threads, "launch", counting)
    monkeypatch.setattr(numba, "get_num_threads", lambda: 7)
    lazy_ones = [y for y, _ in graphs(rng)]
    assert 7 in {n_workers for n_workers, _ in counts}
    counts.clear()
    dask.compute(*lazy_ones, scheduler="threads", num_workers=2)
    assert {n_workers for n_workers, _ in counts} == {1}
    assert threading.get_ident() not in {thread for _, thread in counts}


def test_one_thread_ends_with_its_context_and_stays_in_its_thread():
    parallel = threads.workers(1 << 40)
    elsewhere = []
    with threads.one_thread():
        with threads.one_thread():
            pass
        assert threads.workers(1 << 40) == 1
        thread = threading.Thread(target=lambda: elsewhere.append(threads.workers(1 << 40)))
        thread.start()
        thread.join()
    assert elsewhere == [parallel]
    assert threads.workers(1 << 40) == parallel


# -- errors --------------------------------------------------------------------------------------------------------

H, WEIGHT = np.ones(3), np.ones((1, 1, 3))


@pytest.mark.parametrize(
    "call",
    [
        lambda x, out: upfirdn(H, x, out=out),
        lambda x, out: conv_transpose1d(x, WEIGHT, out=out),
        lambda x, out: ConvTranspose1d(WEIGHT)(x, out=out),
    ],
)
def test_out_is_refused(call):
    x = da.ones((1, 100), chunks=50)
    with pytest.raises(TypeError, match=r"out must be left out where x is a dask.array; got ndarray"):
        call(x, np.empty((1, 102)))


def test_unknown_chunk_sizes_are_refused():
    x = da.ones(100, chunks=50)
    x = x[x > 0]
    message = r"x must have known chunk sizes, see its compute_chunk_sizes\(\); got the shape \(.*nan"
    for call in (lambda: upfirdn(H, x), lambda: resample_poly(x, 2, 1), lambda: conv_transpose1d(x[None], WEIGHT)):
        with pytest.raises(ValueError, match=message):
            call()
    assert upfirdn(H, x.compute_chunk_sizes()).shape == (102,)


def test_other_blocks_are_refused():
    with pytest.raises(TypeError, match=r"x must be an array of bool, .* got object"):
        upfirdn(H, da.from_array(np.array([1, None]), chunks=1))
    with pytest.raises(TypeError, match=r"got a dask.array of MaskedArray"):
        upfirdn(H, da.ma.masked_array(da.ones(100, chunks=50), mask=False))
    with pytest.raises(TypeError, match="bias must be real where x and weight are; got complex128"):
        conv_transpose1d(da.ones((1, 100), chunks=50), WEIGHT, np.ones(1, complex))


def test_shapes_are_checked_when_the_graph_is_built():
    with pytest.raises(ValueError, match="weight has 1 input channels, x has 2"):
        conv_transpose1d(da.ones((2, 100), chunks=50), WEIGHT)
    with pytest.raises(ValueError, match="axis must be an axis of x"):
        upfirdn(H, da.ones(100, chunks=50), axis=1)
    with pytest.raises(ValueError, match="at least one sample"):
        upfirdn(H, da.ones((0,), chunks=1))
