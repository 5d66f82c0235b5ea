"""The machine code of the CUDA kernels, for which no GPU is needed: nothing spilled, registers for enough blocks."""

import math
import sys

import pytest

if sys.platform != "linux":
    pytest.skip("numba-cuda's libraries are Linux's, in the test extra", allow_module_level=True)

from asv_benchmarks import cuda_static
from asv_benchmarks.cuda_static import CAPABILITIES, code, on_paper

REGISTERS, SHARED = 65536, 65536  # of a multiprocessor of compute capability 7.5; others have no fewer
VARIANTS = list(cuda_static.variants())
# Of the contractions, which take ten seconds each to compile, each precision and each kind runs without `-m slow`.
QUICK = {
    "contraction float32 128x128", "contraction float32 16x256, along the reduction", "contraction float16 64x64",
    "contraction float64 32x32 complex",
}  # fmt: skip


def numbered():
    for number, variant in enumerate(VARIANTS):
        is_slow = variant.name.startswith("contraction") and variant.name not in QUICK
        yield pytest.param(number, id=variant.name, marks=[pytest.mark.slow] * is_slow)


def test_the_quick_variants_are_there():
    assert {variant.name for variant in VARIANTS} >= QUICK


@pytest.mark.parametrize("number", list(numbered()))
def test_nothing_is_spilled(number):
    """Each on one capability; `python -m asv_benchmarks.cuda_static` shows all of them."""
    variant, capability = VARIANTS[number], CAPABILITIES[number % len(CAPABILITIES)]
    found = code(variant, capability)
    assert found.spilled == 0
    assert found.stack == 0 or capability >= (10, 0)  # its compiler keeps some sums of `fir` and `sums` in memory
    assert found.registers * found.threads * found.blocks <= REGISTERS
    assert found.shared <= SHARED * 3 // 4
    if math.isnan(found.multiplying):
        return
    names = " ".join(found.opcodes).replace("LDS.U.", "LDS.")
    if "contraction" in variant.name:
        assert "LDS.128" in names
        assert ("DFMA" if "float64" in variant.name else "FFMA") in names
        assert found.multiplying > 0.2
    if variant.name.startswith("fir"):
        assert "LDG.E.128" in names
        assert "STG.E.128" in names


def test_the_roofline():
    """No row is faster than the GPU, and a large layer fills it."""
    rows = {row.name: row for row in cuda_static.WORKLOADS}
    for gpu in cuda_static.GPUS:
        for row in rows.values():
            _, peak, copied = on_paper(row, gpu)
            assert 0 < max(peak, copied) <= 1
        assert on_paper(rows["bigvgan 768->384 k8 s4 32x128"], gpu)[1] > 0.7
