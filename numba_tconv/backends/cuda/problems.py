"""The integers of the three passes as contractions: what `contraction.py` computes, from a `Geometry` and from views.

Pure functions. Here belongs what stride, dilation, crops and phases mean for the pairs of indices; how a problem is cut
into tiles is `launch.py`'s business.
"""

from typing import NamedTuple

from numba_tconv.backends.cuda.parts import Parts, View
from numba_tconv.backends.cuda.problem import Lanes, Problem
from numba_tconv.geometry import Geometry

# A quarter of a sector of memory, which has 32 bytes: shorter runs waste too much of what is read.
SHORT_RUN = 4


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
