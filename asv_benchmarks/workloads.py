"""The shapes to be fast on: one table for benchmarks and tests, with what each row computes, moves and must reach.

The layers are those of published models, read from their code. Here belong rows and the numbers that follow from a
row alone; how to time one is `peers.py`'s business, what the machine can do is `machine.py`'s.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

KINDS = ("nn", "fir", "memory")

# Below this a row measures the overhead of a call, of which a copy that is timed inside one parallel region has none.
SMALLEST_COPY = 2**20


@dataclass(frozen=True)
class Workload:
    """One transposed convolution to be fast on.

    Attributes
    ----------
    padding : (int, int) or 'same'
        Samples cut from the left and the right of the full output.
    dtype : str
        Of the data; weights are real.
    kind : {'nn', 'fir', 'memory'}
        A dense layer, a signal upsampled by a FIR filter, or a layer with so few products that memory decides.
    """

    name: str
    family: str
    batch: int
    in_channels: int
    out_channels: int
    length: int
    filter_size: int
    stride: int
    padding: tuple[int, int] | str = (0, 0)
    groups: int = 1
    dtype: str = "float32"
    kind: str = "nn"

    @property
    def quick(self) -> bool:
        """Whether the row is in the short run."""
        return self.name in QUICK

    @property
    def crop(self) -> tuple[int, int]:
        """Samples cut from the left and the right; an odd one of 'same' from the right."""
        if isinstance(self.padding, str):
            excess = self.filter_size - self.stride
            return excess // 2, excess - excess // 2
        return self.padding

    @property
    def output_length(self) -> int:
        """Output samples."""
        return (self.length - 1) * self.stride + self.filter_size - sum(self.crop)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of the data, (batch, in_channels, length)."""
        return self.batch, self.in_channels, self.length

    @property
    def weight_shape(self) -> tuple[int, int, int]:
        """Shape of the weights, (in_channels, out_channels // groups, filter_size)."""
        return self.in_channels, self.out_channels // self.groups, self.filter_size

    @property
    def output_shape(self) -> tuple[int, int, int]:
        """Shape of the result, (batch, out_channels, output_length)."""
        return self.batch, self.out_channels, self.output_length

    @property
    def real_dtype(self) -> str:
        """Type of the weights and of the arithmetic."""
        return np.empty(0, self.dtype).real.dtype.name

    @property
    def flops(self) -> int:
        """Additions and multiplications that the kept output needs; products that the crop cuts away do not count."""
        left, stride = self.crop[0], self.stride
        end = left + self.output_length
        # Tap k meets the samples i with left <= stride*i + k < end.
        products = sum(
            max(0, min(self.length, -((k - end) // stride)) - max(0, -((k - left) // stride)))
            for k in range(self.filter_size)
        )
        reals = 2 if np.dtype(self.dtype).kind == "c" else 1
        return 2 * reals * self.batch * prod(self.weight_shape[:2]) * products

    @property
    def bytes(self) -> int:
        """Bytes of the data, the weights and the result, each moved once."""
        data = (prod(self.input_shape) + prod(self.output_shape)) * np.dtype(self.dtype).itemsize
        return data + prod(self.weight_shape) * np.dtype(self.real_dtype).itemsize

    @property
    def goals(self) -> dict[str, float]:
        """What the row must reach: share of the FMA 'peak', share of 'copy' bandwidth, times as fast as 'scipy'."""
        goals = {}
        products_per_sample = self.in_channels // self.groups * -(-self.filter_size // self.stride)
        if products_per_sample >= 256 and self.length >= 512:
            goals["peak"] = 0.85
        if self.kind == "memory" and self.bytes >= SMALLEST_COPY:
            goals["copy"] = 0.70
        # The short signal is there for the overhead of a call, which leaves no room for such factors.
        if self.kind == "fir" and self.length >= 512 and self.dtype in ("float32", "complex64"):
            goals["scipy"] = {"float32": 40.0, "complex64": 100.0}[self.dtype]
        return goals

    def arrays(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return data, weights and bias (None for a filter) of unit scale."""

        def normal(*shape: int) -> np.ndarray:
            return rng.standard_normal(shape, dtype=self.real_dtype)

        x = self._data(rng, self.input_shape)
        return x, normal(*self.weight_shape), None if self.kind == "fir" else normal(self.out_channels)

    def grad_output(self) -> np.ndarray:
        """Return a gradient of the result, of unit scale and always the same."""
        return self._data(np.random.default_rng(1), self.output_shape)

    def _data(self, rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
        reals = np.dtype(self.dtype).itemsize // np.dtype(self.real_dtype).itemsize
        batch, channels, length = shape
        return rng.standard_normal((batch, channels, length * reals), dtype=self.real_dtype).view(self.dtype)


def _layers(family: str, batch: int, *layers: tuple) -> Iterator[Workload]:
    """Yield dense layers given as (in_channels, out_channels, filter_size, stride, padding, length)."""
    for in_channels, out_channels, filter_size, stride, padding, length in layers:
        name = f"{family} {in_channels}->{out_channels} k{filter_size} s{stride} {batch}x{length}"
        yield Workload(name, family, batch, in_channels, out_channels, length, filter_size, stride, padding)


def _depthwise(family: str, batch: int, *layers: tuple) -> Iterator[Workload]:
    """Yield depthwise layers given as (channels, filter_size, stride, padding, length)."""
    for channels, filter_size, stride, padding, length in layers:
        name = f"{family} depthwise {channels} k{filter_size} s{stride} {batch}x{length}"
        yield Workload(
            name, family, batch, channels, channels, length, filter_size, stride, padding, channels, kind="memory"
        )


def _filters(*filters: tuple) -> Iterator[Workload]:
    """Yield FIR upsampling given as (signals, length, filter_size, up), each in three dtypes."""
    for signals, length, filter_size, up in filters:
        for dtype in ("float32", "float64", "complex64"):
            name = f"fir {signals}x{length} k{filter_size} s{up} {dtype}"
            yield Workload(name, "fir", signals, 1, 1, length, filter_size, up, dtype=dtype, kind="fir")


_HIFIGAN = ((512, 256, 16, 8, (4, 4)), (256, 128, 16, 8, (4, 4)), (128, 64, 4, 2, (1, 1)), (64, 32, 4, 2, (1, 1)))
_BIGVGAN = (
    (1536, 768, 8, 4, (2, 2)),
    (768, 384, 8, 4, (2, 2)),
    (384, 192, 4, 2, (1, 1)),
    (192, 96, 4, 2, (1, 1)),
    (96, 48, 4, 2, (1, 1)),
    (48, 24, 4, 2, (1, 1)),
)
_DAC = ((1536, 768, 16, 8, (4, 4)), (768, 384, 16, 8, (4, 4)), (384, 192, 8, 4, (2, 2)), (192, 96, 4, 2, (1, 1)))


def _chain(first_length: int, layers: tuple) -> list[tuple]:
    """Append to each layer its input length, where every layer multiplies the length by its stride."""
    chained, length = [], first_length
    for layer in layers:
        chained.append((*layer, length))
        length *= layer[3]
    return chained


WORKLOADS: tuple[Workload, ...] = (
    # HiFi-GAN V1; also VITS and BigVGAN-base. Training segments, then one second of speech at 86 frames.
    *_layers("hifigan", 16, *((*layer, length) for layer, length in zip(_HIFIGAN, (32, 256, 2048, 4096), strict=True))),
    *_layers("hifigan", 1, *_chain(86, _HIFIGAN)),
    # BigVGAN at 24 kHz. Training segments, then one second at 94 frames.
    *_layers("bigvgan", 32, *_chain(32, _BIGVGAN)),
    *_layers("bigvgan", 1, *_chain(94, _BIGVGAN)),
    # Descript's codec at 44.1 kHz. One second at 86 frames; the training batch, with a quarter of its segment.
    *_layers("dac", 1, *_chain(86, _DAC)),
    *_layers("dac", 72, *_chain(8, _DAC)),
    # EnCodec at 24 kHz, one second; causal, so everything is cut on the right.
    *_layers(
        "encodec",
        1,
        (512, 256, 16, 8, (0, 8), 75),
        (256, 128, 10, 5, (0, 5), 600),
        (128, 64, 8, 4, (0, 4), 3000),
        (64, 32, 4, 2, (0, 2), 12000),
    ),
    # Mimi, streaming: every layer sees what one frame has become by then.
    *_depthwise("mimi", 1, *((512, 4, 2, (0, 2), length) for length in (1, 2, 16, 96, 480))),
    *_layers(
        "mimi",
        1,
        (1024, 512, 16, 8, (0, 8), 1),
        (1024, 512, 16, 8, (0, 8), 2),
        (512, 256, 12, 6, (0, 6), 16),
        (256, 128, 10, 5, (0, 5), 96),
        (128, 64, 8, 4, (0, 4), 480),
    ),
    # WaveGAN, 16384 samples.
    *_layers(
        "wavegan",
        64,
        (1024, 512, 25, 4, "same", 16),
        (512, 256, 25, 4, "same", 64),
        (256, 128, 25, 4, "same", 256),
        (128, 64, 25, 4, "same", 1024),
        (64, 1, 25, 4, "same", 4096),
    ),
    # Demucs, eleven seconds; nothing is cut between the layers.
    *_layers(
        "demucs",
        1,
        (2048, 1024, 8, 4, (0, 0), 117),
        (1024, 512, 8, 4, (0, 0), 472),
        (512, 256, 8, 4, (0, 0), 1892),
        (256, 128, 8, 4, (0, 0), 7572),
        (128, 64, 8, 4, (0, 0), 30292),
        (64, 8, 8, 4, (0, 0), 121172),
    ),
    *_layers("convtasnet", 2, (512, 1, 16, 8, (0, 0), 3000)),
    *_depthwise("waveunet", 4, *((channels, 15, 4, (0, 0), 1024) for channels in (64, 256, 1024))),
    # The inverse short-time Fourier transform as a layer: one output channel, a filter of a whole window.
    *_layers("istft", 1, (1026, 1, 1024, 256, (0, 0), 224), (2049, 1, 4096, 1024, (0, 0), 340)),
    *_layers("istft", 12, (2049, 1, 4096, 1024, (0, 0), 340)),
    # The example of the layer's documentation.
    *_layers("example", 16, (64, 96, 11, 4, (0, 0), 256)),
    # Signals: scipy.signal.resample_poly's filter for up 2, 3, 4, 8; an array of sensors; one heartbeat.
    *_filters(*((1, 1_000_000, 20 * up + 1, up) for up in (2, 3, 4, 8)), (64, 100_000, 65, 2), (1, 256, 41, 4)),
    *_depthwise("bank", 4, (128, 4, 2, (1, 1), 4096)),
)

# One row or two of every sort, for a look while working.
QUICK = frozenset(
    {
        "hifigan 64->32 k4 s2 16x4096",
        "hifigan 256->128 k16 s8 1x688",
        "bigvgan 48->24 k4 s2 1x12032",
        "encodec 256->128 k10 s5 1x600",
        "mimi depthwise 512 k4 s2 1x1",
        "mimi 1024->512 k16 s8 1x2",
        "demucs 2048->1024 k8 s4 1x117",
        "convtasnet 512->1 k16 s8 2x3000",
        "waveunet depthwise 256 k15 s4 4x1024",
        "istft 1026->1 k1024 s256 1x224",
        "example 64->96 k11 s4 16x256",
        "fir 1x1000000 k81 s4 float32",
        "fir 1x1000000 k81 s4 complex64",
        "fir 1x256 k41 s4 float32",
        "bank depthwise 128 k4 s2 4x4096",
    }
)

# Nothing to compute: what is left is the overhead of a call.
TINY_CALL = Workload("tiny call", "overhead", 1, 1, 1, 4, 3, 1)
