"""What this machine's vector unit and its caches look like, and the register tile that suits it.

Here belongs every number that depends on the instruction set. Numba's own settings (`NUMBA_CPU_NAME`,
`NUMBA_CPU_FEATURES`) are respected, because they decide what the kernels are compiled for.
"""

import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm
from numba.core import config

LINE_OF_CACHE = 64
# Where Linux says how large a core's second cache is, and what it has where nobody says.
SIZE_OF_L2, USUAL_L2 = Path("/sys/devices/system/cpu/cpu0/cache/index2/size"), 1 << 20


@dataclass(frozen=True)
class Target:
    """The vector unit: bits of a register, and how many registers there are."""

    name: str
    vector_bits: int
    registers: int

    def lanes(self, itemsize: int) -> int:
        """Numbers of `itemsize` bytes in a vector."""
        return self.vector_bits // (8 * itemsize)

    @property
    def panel_rows(self) -> int:
        """Rows R of the panel tile, which is two vectors wide: 2*R accumulators, two lane vectors and a scalar.

        12 of the 14 that 32 registers allow: 98 % of the FMA peak on Zen 4 and divisible by 6, 4, 3, 2 and 1, the
        heights of the tiles that finish a block. Wider tiles (6x4, 8x3) make LLVM load every scalar before the first
        multiplication and spill: 21 and 42 % of the peak.
        """
        return 12 if self.registers == 32 else 6

    @property
    def dot_columns(self) -> int:
        """Columns of a tile of dot products, which has six rows: with the columns' own, most of the registers."""
        return 4 if self.registers == 32 else 2

    @property
    def window_columns(self) -> int:
        """Columns of a tile of dot products along time, which has four rows.

        Of 16 registers, three take 15: a Zen 3 ran 64 -> 1 (25, 4) at 56 % of the FMA peak with two, at 70 so.
        """
        return 6 if self.registers == 32 else 3

    @property
    def window_vectors(self) -> int:
        """Vectors V of a tile of sums along time, which has six rows."""
        return 4 if self.registers == 32 else 2

    @property
    def pair_vectors(self) -> int:
        """Vectors V of the tile that sums two outputs: 2*V accumulators are half the registers."""
        return self.registers // 4

    def fir_together(self, rows: int) -> int:
        """Of the `rows` interleaved rows of a FIR tile, those whose sums grow in registers at the same time.

        All where there are 32 registers; of 16, at most six, for more leave no room for two vectors each: with one, a
        multiply-add waits for the one before, and LLVM keeps sums in memory meanwhile. On a Zen 3, 8 rows went from 41
        to 79 % of the FMA peak by fours, 12 from 31 to 69 by sixes.
        """
        return rows if self.registers == 32 else -(-rows // -(-rows // 6))

    def fir_vectors(self, rows: int) -> int:
        """Vectors V of the FIR tile with `rows` interleaved rows.

        A dozen accumulators hide the latency of the multiply-add; 24 were within 2 % of that or slower, and waste
        more at the end of a short signal. Of many rows, they load less often: with two units for multiply-add (a Xeon
        of 2023) 1.05 to 1.2 times as fast from five rows on.
        """
        if self.registers == 32:
            return max(1, (24 if rows > 4 else 12) // rows)
        return self._vectors_of(rows)

    def direct_vectors(self, rows: int) -> int:
        """Vectors V of the FIR tile with `rows` rows of several filters, whose weights it loads one by one.

        Half of the registers: 90 % of the FMA peak for 128 -> 64 (4, 2) on one thread, with 12 accumulators 86.
        """
        if self.registers == 32:
            return max(1, self.registers // 2 // rows)
        return self._vectors_of(rows)

    def _vectors_of(self, rows: int) -> int:
        """Vectors of a tile that fills 16 registers with accumulators, the samples for one row, and a tap.

        Where rows wait for others, two: a Zen 3 took 1.1 times as long with three.
        """
        together = self.fir_together(rows)
        return (self.registers - 1) // (together + 1) if together == rows else 2


@cache
def host() -> Target:
    """Return the `Target` that Numba compiles for."""
    features = config.CPU_FEATURES
    if features is None:
        features = llvm.get_host_cpu_features().flatten()
    enabled = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    if platform.machine().lower() in {"aarch64", "arm64"}:
        return Target("NEON", 128, 32)
    if "avx512f" in enabled and config.ENABLE_AVX:
        return Target("AVX-512", 512, 32)
    if "avx" in enabled and config.ENABLE_AVX:
        return Target("AVX2" if "avx2" in enabled else "AVX", 256, 16)
    return Target("SSE", 128, 16)


@cache
def l2_bytes() -> int:
    """Return the size of a core's second cache."""
    try:
        return int(SIZE_OF_L2.read_text().strip().removesuffix("K")) << 10
    except (OSError, ValueError):
        return USUAL_L2


def kept_in_l2(most: int) -> int:
    """Return how many bytes of one kind an item keeps in the second cache: a quarter of it, and at most so many."""
    return min(most, l2_bytes() // 4)
