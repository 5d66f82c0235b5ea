"""The integers of the three passes as contractions: what `contraction.py` is given, from a `Geometry` and from views.

Pure functions. Here belongs what stride, dilation, crops and phases mean for the pairs of indices, and the shape of a
tile; which tile a problem is cut into is `launch.py`'s business.
"""

from typing import NamedTuple

from numba_tconv.backends.cuda.parts import Parts, View
from numba_tconv.geometry import Geometry

# A quarter of a sector of memory, which has 32 bytes: shorter runs waste too much of what is read.
SHORT_RUN = 4


class Tile(NamedTuple):
    """The shape of a tile: what a block computes, and what a thread of it does.

    A thread owns rows and columns in groups of four, neighbouring groups `rows/(thread_rows/4)` apart, so that
    neighbouring threads read neighbouring 16 bytes of shared memory.
    """

    rows: int
    columns: int
    thread_rows: int
    thread_columns: int
    slab: int
    blocks: int

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.rows // self.thread_rows * (self.columns // self.thread_columns)


class Lanes(NamedTuple):
    """Along which index neighbouring threads load an operand: the reduction's, or the row's or column's."""

    a_along_k: bool
    b_along_k: bool


class Problem(NamedTuple):
    """The integers of a contraction; strides in real numbers, `t` a place in time."""

    groups: int
    m: int  # rows, columns and reduction, parts and inner indices included
    n: int
    k: int
    m_inner: int
    n_inner: int
    k_inner: int
    splits: int
    slabs: int  # of a split
    a_start: int
    a_group: int
    a_m: int  # by the outer index of a row
    a_k: int  # by the outer index of the reduction
    a_time: int  # by a sample
    a_t: int  # t of the inner indices 0
    a_t_m: int  # t by an inner index
    a_t_k: int
    a_length: int
    b_start: int
    b_group: int
    b_n: int
    b_k: int
    b_time: int
    b_t: int
    b_t_n: int
    b_t_k: int
    b_length: int
    out_start: int
    out_group: int
    out_m: int
    out_n: int
    out_time: int
    out_t: int
    out_t_m: int
    out_t_n: int
    out_length: int
    gap: int  # samples from one that a tap may reach to the next
    weave: int  # 2**weave neighbouring rows are neighbouring samples of the result
    bias_group: int
    bias_m: int
    bias_parts: int  # of a number of the bias; 0 without one


class Sizes(NamedTuple):
    """The sizes of an operator besides its geometry; channels and filters of one group."""

    batch: int
    groups: int
    channels: int
    filters: int


def forward(
    geometry: Geometry, sizes: Sizes, parts: Parts, x: View, weight: View, bias_parts: int, out: View
) -> tuple[Problem, Lanes]:
    """Return the contraction of the forward pass; `bias_parts` is 0 without a bias."""
    batch, groups, channels, filters = sizes
    first, rows = geometry.covering_rows
    problem = Problem(
        groups=groups,
        m=filters * geometry.branches * parts.m,
        n=batch * rows * parts.n,
        k=channels * geometry.taps_per_branch * parts.k,
        m_inner=geometry.branches,
        n_inner=rows,
        k_inner=geometry.taps_per_branch,
        splits=1,
        slabs=0,
        a_start=weight.start,
        a_group=channels * weight.strides[0],
        a_m=weight.strides[1],
        a_k=weight.strides[0],
        a_time=weight.strides[2],
        a_t=0,
        a_t_m=1,
        a_t_k=geometry.branches,
        a_length=geometry.filter_size,
        b_start=x.start,
        b_group=channels * x.strides[1],
        b_n=x.strides[0],
        b_k=x.strides[1],
        b_time=x.strides[2],
        b_t=first,
        b_t_n=1,
        b_t_k=-geometry.input_step,
        b_length=geometry.length,
        out_start=out.start,
        out_group=filters * out.strides[1],
        out_m=out.strides[1],
        out_n=out.strides[0],
        out_time=out.strides[2],
        out_t=geometry.stride * first - geometry.left,
        out_t_m=geometry.dilation,
        out_t_n=geometry.stride,
        out_length=geometry.output_length,
        gap=geometry.gap,
        weave=_even_steps(geometry.branches * parts.m) if geometry.dilation == 1 else 0,
        bias_parts=bias_parts,
        bias_group=filters * bias_parts,
        bias_m=bias_parts,
    )
    return problem, Lanes(a_along_k=geometry.branches == 1, b_along_k=False)


def _even_steps(number: int) -> int:
    """Return how often a number can be halved."""
    return (number & -number).bit_length() - 1


def grad_x(
    geometry: Geometry, sizes: Sizes, parts: Parts, grad_output: View, weight: View, out: View
) -> tuple[Problem, Lanes]:
    """Return the contraction of the gradient of x."""
    batch, groups, channels, filters = sizes
    problem = Problem(
        groups=groups,
        m=channels * parts.m,
        n=batch * geometry.length * parts.n,
        k=filters * geometry.filter_size * parts.k,
        m_inner=1,
        n_inner=geometry.length,
        k_inner=geometry.filter_size,
        splits=1,
        slabs=0,
        a_start=weight.start,
        a_group=channels * weight.strides[0],
        a_m=weight.strides[0],
        a_k=weight.strides[1],
        a_time=weight.strides[2],
        a_t=0,
        a_t_m=0,
        a_t_k=1,
        a_length=geometry.filter_size,
        b_start=grad_output.start,
        b_group=filters * grad_output.strides[1],
        b_n=grad_output.strides[0],
        b_k=grad_output.strides[1],
        b_time=grad_output.strides[2],
        b_t=-geometry.left,
        b_t_n=geometry.stride,
        b_t_k=geometry.dilation,
        b_length=geometry.output_length,
        out_start=out.start,
        out_group=channels * out.strides[1],
        out_m=out.strides[1],
        out_n=out.strides[0],
        out_time=out.strides[2],
        out_t=0,
        out_t_m=0,
        out_t_n=1,
        out_length=geometry.length,
        gap=1,
        weave=0,
        bias_parts=0,
        bias_group=0,
        bias_m=0,
    )
    # Along time, neighbours are a stride apart; along the taps, a dilation.
    is_along_taps = geometry.dilation < geometry.stride and geometry.filter_size >= SHORT_RUN
    return problem, Lanes(a_along_k=True, b_along_k=is_along_taps)


def grad_weight(
    geometry: Geometry, sizes: Sizes, parts: Parts, grad_output: View, x: View, out: View
) -> tuple[Problem, Lanes]:
    """Return the contraction of the gradient of the weight."""
    batch, groups, channels, filters = sizes
    problem = Problem(
        groups=groups,
        m=channels * parts.m,
        n=filters * geometry.filter_size * parts.n,
        k=batch * geometry.length * parts.k,
        m_inner=1,
        n_inner=geometry.filter_size,
        k_inner=geometry.length,
        splits=1,
        slabs=0,
        a_start=x.start,
        a_group=channels * x.strides[1],
        a_m=x.strides[1],
        a_k=x.strides[0],
        a_time=x.strides[2],
        a_t=0,
        a_t_m=0,
        a_t_k=1,
        a_length=geometry.length,
        b_start=grad_output.start,
        b_group=filters * grad_output.strides[1],
        b_n=grad_output.strides[1],
        b_k=grad_output.strides[0],
        b_time=grad_output.strides[2],
        b_t=-geometry.left,
        b_t_n=geometry.dilation,
        b_t_k=geometry.stride,
        b_length=geometry.output_length,
        out_start=out.start,
        out_group=channels * out.strides[0],
        out_m=out.strides[0],
        out_n=out.strides[1],
        out_time=out.strides[2],
        out_t=0,
        out_t_m=0,
        out_t_n=1,
        out_length=geometry.filter_size,
        gap=1,
        weave=0,
        bias_parts=0,
        bias_group=0,
        bias_m=0,
    )
    is_along_time = geometry.stride < geometry.dilation or geometry.filter_size < SHORT_RUN
    return problem, Lanes(a_along_k=True, b_along_k=is_along_time)
