"""What a kernel is made for, and the integers it is launched with: tiles, lanes, problems. Standard library only."""

from typing import NamedTuple


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
