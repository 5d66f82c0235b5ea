"""The contraction for NVIDIA GPUs, on the simulator: every kind of variant against one that is written out.

The oracle knows neither tiles nor parts: it gathers dense complex matrices, multiplies them and scatters the result.
"""

import itertools

import numpy as np
import pytest

from numba_tconv.backends.cuda.compiler import configured, types
from numba_tconv.backends.cuda.contraction import make_kernel
from numba_tconv.backends.cuda.parts import parts
from numba_tconv.backends.cuda.problems import Lanes, Problem, Tile

TINY = Tile(8, 8, 4, 4, 4, 1)
UNWRITTEN = 77.0

# Which of a, b and the result are complex.
# Numba copies host arrays to the GPU and back, which is for tests alone.
pytestmark = pytest.mark.filterwarnings("ignore:Host array used in CUDA kernel")

REAL = (False, False, False)
DATA, WEIGHT, ALL, REAL_PART = (False, True, True), (True, False, True), (True, True, True), (True, True, False)


def random_numbers(rng, shape, is_complex, dtype):
    """Return small integers: sums of their products are exact."""
    numbers = rng.integers(-4, 5, (*shape, 2)[: len(shape) + is_complex]).astype(dtype)
    return numbers.view(np.result_type(dtype, np.complex64))[..., 0] if is_complex else numbers


def strides(shape, width):
    """Return the steps of a C-contiguous array in real numbers."""
    return [int(np.prod(shape[axis + 1 :], dtype=np.int64)) * width for axis in range(len(shape))]


def operand(rng, groups, outer, k_outer, length, is_complex, dtype):
    """Return an array (group, outer, k, time), with its axes in random order in memory, its memory and its steps."""
    order = rng.permutation(4)
    shape = np.array([groups, outer, k_outer, length])
    stored = random_numbers(rng, shape[order], is_complex, dtype)
    steps = np.array(strides(stored.shape, 1 + is_complex))
    back = np.argsort(order)
    return stored.transpose(back), stored.reshape(-1).view(dtype), [int(step) for step in steps[back]]


def gathered(array, group, outer, k_outer, when):
    """Return array[group, outer, k_outer, when], zero beyond the ends of time; every argument but the first two 2-D."""
    inside = (when >= 0) & (when < array.shape[-1])
    return np.where(inside, array[group, outer, k_outer, np.where(inside, when, 0)], 0)


def random_problem(
    rng,
    tile,
    are_complex,
    conjugate,
    dtype,
    m,
    n,
    k,
    groups=1,
    splits=1,
    gap=1,
    weave=0,
    bias="real",
    later=0,
):
    """Return (arrays, problem, expected memory of the result) of sizes (outer, inner), parts not included.

    Everything happens `later`, in memory that begins there.
    """
    (m_outer, m_inner), (n_outer, n_inner), (k_outer, k_inner) = m, n, k
    of = parts(*are_complex)
    a_is_complex, b_is_complex, is_complex = are_complex
    a_length, b_length = (int(rng.integers(2, 9)) for _ in range(2))
    a, a_memory, a_steps = operand(rng, groups, m_outer, k_outer, a_length, a_is_complex, dtype)
    b, b_memory, b_steps = operand(rng, groups, n_outer, k_outer, b_length, b_is_complex, dtype)
    a_t, a_t_m, a_t_k, b_t, b_t_n, b_t_k = (int(step) for step in rng.integers(0 if later else -2, 3, 6))
    # Results are `gap` samples apart; the first and last ones are cut.
    out_t, out_t_m, out_t_n = 0 if later else -gap - 1, gap, gap * m_inner
    out_length = max(1, gap * m_inner * n_inner - 2)
    shape = groups, m_outer, n_outer, out_length
    out = np.full(shape, UNWRITTEN, np.result_type(dtype, np.complex64) if is_complex else dtype)
    out_steps = strides(shape, 1 + is_complex)

    has_complex_bias = bias == "complex" and is_complex
    biases = random_numbers(rng, (groups, m_outer), has_complex_bias, dtype)
    bias_steps = strides(biases.shape, 1 + has_complex_bias)
    bias_parts = 1 + has_complex_bias if bias else 0
    slabs = -(-k_outer * k_inner * of.k // (tile.slab * splits))

    problem = Problem(
        groups, m_outer * m_inner * of.m, n_outer * n_inner * of.n, k_outer * k_inner * of.k, m_inner, n_inner, k_inner,
        splits, slabs,
        -later * a_steps[3], *a_steps, a_t + later, a_t_m, a_t_k, a_length + later,
        -later * b_steps[3], *b_steps, b_t + later, b_t_n, b_t_k, b_length + later,
        -later * out_steps[3], *out_steps, out_t + later, out_t_m, out_t_n, out_length + later, gap, weave,
        bias_steps[0], bias_steps[1], bias_parts,
    )  # fmt: skip

    memory = out.reshape(-1).view(dtype).copy()
    rows, columns, reduction = (
        np.array(list(itertools.product(range(outer), range(inner)))) for outer, inner in (m, n, k)
    )
    for group in range(groups):
        a_dense = gathered(a, group, rows[:, :1], reduction[:, 0], a_t + rows[:, 1:] * a_t_m + reduction[:, 1] * a_t_k)
        b_dense = gathered(
            b, group, columns[:, :1], reduction[:, 0], b_t + columns[:, 1:] * b_t_n + reduction[:, 1] * b_t_k
        )
        products = (a_dense.conj() if conjugate else a_dense) @ b_dense.T
        for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
            value = biases[group, row[0]] if bias else 0
            for more in range(gap):
                when = out_t + row[1] * out_t_m + column[1] * out_t_n + more
                if 0 <= when < out_length:
                    result = value + (products[i, j] if more == 0 else 0)
                    out[group, row[0], column[0], when] = result if is_complex else result.real
    tiles = -(-problem.m // tile.rows) * -(-problem.n // tile.columns) * groups
    work = np.full(tiles * splits * tile.rows * tile.columns if splits > 1 else 1, np.nan, dtype)
    arrived = np.zeros(tiles, np.uint32)
    arrays = a_memory, b_memory, biases.reshape(-1).view(dtype), memory, work, arrived
    return arrays, problem, out.reshape(-1).view(dtype)


def check(rng, tile, lanes, are_complex, conjugate, dtype, time=types.int32, **sizes):
    """Launch a random problem and compare."""
    arrays, problem, expected = random_problem(rng, tile, are_complex, conjugate, dtype, **sizes)
    real = {"float32": types.float32, "float64": types.float64}[np.dtype(dtype).name]
    kernel = make_kernel(tile, lanes, parts(*are_complex), conjugate, real, time)
    out, arrived = arrays[3], arrays[5]
    launch(kernel, len(arrived) * problem.splits, tile.threads, *arrays, problem)
    np.testing.assert_array_equal(out, expected)
    assert not arrived.any()  # ready for the next call


def launch(kernel, blocks, threads, *arguments):
    """Launch, host arrays copied to the GPU and back."""
    configured(kernel, blocks, threads, 0)(*arguments)


CASES = {
    "edges": {"m": (3, 3), "n": (2, 7), "k": (3, 3)},
    "one of each": {"m": (1, 1), "n": (1, 1), "k": (1, 1)},
    "groups": {"m": (5, 1), "n": (3, 1), "k": (2, 2), "groups": 3},
    "splits": {"m": (2, 2), "n": (3, 4), "k": (5, 2), "splits": 3},
    "a split of nothing": {"m": (2, 2), "n": (1, 4), "k": (1, 9), "splits": 8},
    "gap": {"m": (2, 3), "n": (2, 3), "k": (1, 5), "gap": 3},
    "weave": {"m": (2, 4), "n": (2, 3), "k": (1, 5), "weave": 2},
    "no bias": {"m": (2, 3), "n": (2, 3), "k": (4, 1), "bias": None},
    "panels": {"m": (1, 2), "n": (1, 3), "k": (13, 11)},
    "panels, channels": {"m": (1, 2), "n": (1, 3), "k": (143, 1)},
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("lanes", [Lanes(False, False), Lanes(True, True)])
def test_real(name, lanes):
    check(np.random.default_rng(1), TINY, lanes, REAL, False, "float32", **CASES[name])


@pytest.mark.parametrize("are_complex", [DATA, WEIGHT, ALL, REAL_PART])
@pytest.mark.parametrize("conjugate", [False, True])
@pytest.mark.parametrize("lanes", [Lanes(True, False), Lanes(False, True)])
def test_complex(are_complex, conjugate, lanes):
    conjugate = conjugate or are_complex == REAL_PART
    for bias in ("real", "complex"):
        sizes = {"m": (3, 3), "n": (3, 2), "k": (2, 3), "gap": 2, "bias": bias}
        check(np.random.default_rng(2), TINY, lanes, are_complex, conjugate, "float64", **sizes)


@pytest.mark.parametrize("tile", [Tile(8, 16, 4, 8, 2, 1), Tile(16, 8, 8, 4, 2, 1), Tile(8, 32, 8, 4, 4, 1)])
def test_tiles(tile):
    sizes = {"m": (3, 4), "n": (3, 7), "k": (2, 3), "splits": 2, "weave": 1}
    check(np.random.default_rng(3), tile, Lanes(False, True), ALL, True, "float32", **sizes)


def test_places_in_time_of_64_bits():
    """The first three samples lie before 2**32: with 32 bits they would be behind the end."""
    sizes = {"m": (3, 3), "n": (2, 7), "k": (3, 3), "gap": 2, "later": (1 << 32) - 3}
    check(np.random.default_rng(4), TINY, Lanes(False, False), REAL, False, "float32", types.int64, **sizes)
