"""Every integer of a transposed convolution, worked out once: lengths, crops, branches, taps, halo.

Here belongs all arithmetic on options (stride, padding, dilation, ...). Kernels read its results and never see an
option. Standard library only; arrays and dtypes are `arguments.py`'s business.

The operation scatters every input sample over the filter (Dumoulin and Visin, arXiv:1603.07285, relationship 14, and
PyTorch's `ConvTranspose1d`; in their letters K = k, stride = s, dilation = d, output_padding = a)::

    full[stride*i + dilation*k] += w[k] * x[i]              i < length, k < filter_size

    full:   |<- left ->|<---------- output_length ---------->|<- right ->|
                       y[0]                                              full_length

Read from the output's side (Vaidyanathan, "Multirate Systems and Filter Banks", 1993, section 4.3), it is a few
ordinary convolutions whose results are interleaved. With `g = gcd(stride, dilation)` the filter falls apart into
`stride/g` branches; branch b owns the taps `b, b + stride/g, b + 2*stride/g, ...` and, for a row q of the output,

    full[stride*q + dilation*b] = sum_j w[b + (stride/g)*j] * x[q - (dilation/g)*j]

For dilation 1 the branches are the phases 0 .. stride-1 and a row is `stride` neighbouring samples. For stride 3 and
5 taps (branch 2 has one tap fewer)::

    row        q=0      q=1      q=2
    full     0  1  2  3  4  5  6  7  8
    branch   0  1  2  0  1  2  0  1  2
    taps     w0 w1 w2 w0 w1 w2 w0 w1 w2      times x[q]
                      w3 w4    w3 w4         times x[q-1]
"""

import operator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import gcd

Padding = int | tuple[int, int] | str


def as_integer(name: str, value: object, low: int) -> int:
    """Return `value` as an int of at least `low`; bools and floats are refused."""
    if type(value) is int and low <= value < 1 << 62:  # nearly every call; the rest costs a microsecond for five
        return value
    rule = {0: "a non-negative int", 1: "a positive int"}[low]
    try:
        # NumPy's bool has an index before NumPy 2.3.
        if isinstance(value, bool) or getattr(value, "dtype", "int") == "bool":
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be {rule}; got {value!r}") from None
    if number < low:
        raise ValueError(f"{name} must be {rule}; got {value!r}")
    if number >= 1 << 62:  # what no index holds would overflow in a kernel
        raise ValueError(f"{name} must be below 2**62; got {value!r}")
    return number


def as_padding(padding: object) -> tuple[int, int] | str:
    """Return `(left, right)` or `'same'`."""
    if type(padding) is int and padding >= 0:
        return padding, padding
    rule = "padding must be a non-negative int, (left, right) or 'same'"
    if isinstance(padding, str):
        if padding != "same":
            raise ValueError(f"{rule}; got {padding!r}")
        return "same"
    pair = tuple(padding) if isinstance(padding, (tuple, list)) else (padding, padding)
    if len(pair) != 2:
        raise ValueError(f"{rule}; got {padding!r}")
    if all(type(side) is int and side >= 0 for side in pair):
        return pair
    try:
        return as_integer("left", pair[0], 0), as_integer("right", pair[1], 0)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{rule}; got {padding!r}") from None


@dataclass(frozen=True, eq=False)
class Geometry:
    """The integers of one transposed convolution along time. Made by `geometry`, once: equal means identical.

    Attributes
    ----------
    length, filter_size, stride, dilation : int
        Input samples, taps, output step per input sample, spacing of the taps.
    left, right : int
        Samples cut from the full output.
    extension : int
        Samples that hold the bias alone, appended after the full output: `output_padding`, or what 'same' needs
        where the filter is shorter than the stride.
    """

    length: int
    filter_size: int
    stride: int
    dilation: int
    left: int
    right: int
    extension: int

    @cached_property
    def full_length(self) -> int:
        """Output samples before cropping."""
        return (self.length - 1) * self.stride + self.dilation * (self.filter_size - 1) + 1

    @cached_property
    def output_length(self) -> int:
        """Output samples."""
        return self.full_length - self.left - self.right + self.extension

    @cached_property
    def branches(self) -> int:
        """Interleaved convolutions; without dilation, the phases of the output."""
        return self.stride // gcd(self.stride, self.dilation)

    @cached_property
    def taps_per_branch(self) -> int:
        """Taps of the longest branch."""
        return -(-self.filter_size // self.branches)

    @cached_property
    def input_step(self) -> int:
        """Input samples between neighbouring taps of a branch."""
        return self.dilation // gcd(self.stride, self.dilation)

    @cached_property
    def halo(self) -> int:
        """Input samples before a row that its branches reach back to."""
        return (self.taps_per_branch - 1) * self.input_step

    @cached_property
    def is_interleaved(self) -> bool:
        """Whether a row's branches are neighbouring output samples, and rows follow each other without a gap."""
        return self.dilation == 1 or self.stride == 1

    @cached_property
    def first_row(self) -> int:
        """First row that ends at or behind the first kept sample."""
        last_offset = self.dilation * (self.branches - 1) if not self.is_interleaved else self.stride - 1
        return max(0, -(-(self.left - last_offset) // self.stride))

    @cached_property
    def rows(self) -> int:
        """Rows from `first_row` on that hold every kept sample which is not the bias alone.

        Interleaved rows cover the extension too; otherwise what no row reaches is left to the bias.
        """
        end = (self.left + self.output_length - 1) // self.stride + 1
        if not self.is_interleaved:
            end = min(end, self.length + self.halo)
        return max(0, end - self.first_row)

    @cached_property
    def gap(self) -> int:
        """Output samples from one that a tap may reach to the next; those between them hold the bias alone."""
        return gcd(self.stride, self.dilation)

    @cached_property
    def covering_rows(self) -> tuple[int, int]:
        """The first row, and how many there are, with which every kept sample is reached or lies in a gap behind one.

        Unlike `rows`, they begin before the first input sample where the filter's spacing asks for it.
        """
        reach = self.dilation * (self.branches - 1) + self.gap - 1
        first = -((reach - self.left) // self.stride)
        return first, (self.left + self.output_length - 1) // self.stride + 1 - first


@lru_cache(maxsize=4096)
def geometry(
    length: int, filter_size: int, stride: int, padding: tuple[int, int] | str, output_padding: int, dilation: int
) -> Geometry:
    """Return the `Geometry` of integers that `as_integer` and `as_padding` have passed.

    The rule for 'same' is Keras' and JAX', and the layer's: the output has `length * stride` samples, an odd sample is
    cut from the right, and a filter shorter than the stride leaves samples of bias at the end.

    Raises
    ------
    ValueError
        For an output padding that is not below max(stride, dilation) or comes with 'same', and for a crop that
        leaves no sample.
    """
    if output_padding >= max(stride, dilation):
        raise ValueError(
            f"output_padding must be smaller than stride or dilation; got {output_padding} "
            f"with stride {stride} and dilation {dilation}"
        )
    if isinstance(padding, str):
        if output_padding:
            raise ValueError(f"output_padding must be 0 with padding 'same'; got {output_padding}")
        excess = dilation * (filter_size - 1) + 1 - stride
        left, extension = max(0, excess) // 2, max(0, -excess)
        right = max(0, excess) - left
    else:
        (left, right), extension = padding, output_padding
    result = Geometry(length, filter_size, stride, dilation, left, right, extension)
    if result.output_length < 1:
        raise ValueError(
            f"padding must leave at least one output sample; got {(left, right)} "
            f"for a full length of {result.full_length}"
        )
    return result


@lru_cache(maxsize=4096)
def window(length: int, filter_size: int, stride: int, dilation: int, left: int, output_length: int) -> Geometry:
    """Return the `Geometry` of some samples of the full output, from `left` on; those behind its end are bias alone."""
    excess = (length - 1) * stride + dilation * (filter_size - 1) + 1 - left - output_length
    return Geometry(length, filter_size, stride, dilation, left, max(0, excess), max(0, -excess))


@dataclass(frozen=True, eq=False)
class Blocks:
    """The integers of a transposed convolution whose signal comes in blocks. Made by `blocks`.

    Attributes
    ----------
    shape : Geometry
        Of a signal that is longer than what its padding cuts: outputs of others follow from its own.
    """

    shape: Geometry

    @cached_property
    def halo(self) -> int:
        """Samples before a block that all outputs need which were not given before it."""
        shape = self.shape
        # Outputs that are held back, because the signal might end here, need samples that are older still; at least
        # the one that they lie behind, even where no tap reaches it.
        held_back = max(0, shape.stride * shape.length - shape.left - shape.output_length)
        reach = shape.dilation * (shape.filter_size - 1)
        return max((held_back + reach) // shape.stride, -(-held_back // shape.stride))

    def total(self, received: int) -> int:
        """Return how many outputs a signal of `received` samples has."""
        return max(0, self.shape.output_length + (received - self.shape.length) * self.shape.stride)

    def final(self, received: int) -> int:
        """Return how many outputs no sample behind the first `received` ones can change."""
        return min(self.total(received), max(0, received * self.shape.stride - self.shape.left))

    def part(self, length: int, first: int, begin: int, count: int) -> Geometry:
        """Return the `Geometry` of `count` outputs from `begin` on, of `length` samples from `first` on."""
        shape = self.shape
        left = shape.left + begin - first * shape.stride
        return window(length, shape.filter_size, shape.stride, shape.dilation, left, count)


def blocks(filter_size: int, stride: int, padding: tuple[int, int] | str, output_padding: int, dilation: int) -> Blocks:
    """Return the `Blocks` of integers that `as_integer` and `as_padding` have passed; errors as of `geometry`."""
    length = 1 if isinstance(padding, str) else 1 + sum(padding)
    return Blocks(geometry(length, filter_size, stride, padding, output_padding, dilation))


def rate_length(length: int, filter_size: int, up: int, down: int) -> int:
    """Return how many outputs a signal of `length` samples has after a change of rate."""
    return ((length - 1) * up + filter_size - 1) // down + 1


@dataclass(frozen=True, eq=False)
class RateChange:
    """The integers of one change of rate: upsample, filter, keep every `down`-th. Made by `rate_change`, once.

    With `full` as above, the outputs are `y[n] = full[left + down*n]`; `full` is zero beyond its ends. Outputs repeat
    their phases after `up/g` of them, which is `down/g` inputs, where `g = gcd(up, down)` (Crochiere and Rabiner,
    "Multirate Digital Signal Processing", 1983, section 3.3)::

        y[(up/g)*m + p] = sum_j h[r + up*j] * x[(down/g)*m + q - j]          q, r = divmod(left + down*p, up)

    Attributes
    ----------
    length, filter_size, up, down : int
        Input samples, taps, and the rates.
    left : int
        Place of the first output in the full one.
    output_length : int
        Output samples.
    """

    length: int
    filter_size: int
    up: int
    down: int
    left: int
    output_length: int

    @cached_property
    def taps_per_phase(self) -> int:
        """Taps of the longest phase."""
        return -(-self.filter_size // self.up)

    @cached_property
    def phases(self) -> int:
        """Phases that have a tap."""
        return min(self.up, self.filter_size)

    @cached_property
    def outputs_per_period(self) -> int:
        """Outputs after which the phases repeat."""
        return self.up // gcd(self.up, self.down)

    @cached_property
    def inputs_per_period(self) -> int:
        """Inputs after which the phases repeat."""
        return self.down // gcd(self.up, self.down)


@lru_cache(maxsize=4096)
def rate_change(length: int, filter_size: int, up: int, down: int, left: int, output_length: int) -> RateChange:
    """Return the `RateChange` of checked integers."""
    return RateChange(length, filter_size, up, down, left, output_length)
