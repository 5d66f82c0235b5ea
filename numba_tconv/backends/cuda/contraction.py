"""The three passes as one contraction: tiles of products of two operands that are gathered from where they lie.

    out[m, n] = bias[m] + sum_k a[m, k] * b[k, n]

Each of m, n and k is a pair of indices, (outer, inner). An operand's outer indices step through memory; its place in
time is an affine function of the two inner ones, and where that lies beyond the ends, the operand is zero. That is all
there is to stride, dilation, crops and phases; the problem's integers say what the pairs are::

    pass         m                    n              k              a                   b
    forward      (filter, branch)     (batch, row)   (channel, j)   weight              x
    grad_x       (channel, -)         (batch, i)     (filter, tap)  weight, conjugate   grad_output
    grad_weight  (channel, -)         (filter, tap)  (batch, i)     x, conjugate        grad_output

So nothing is copied to a column buffer. A block of threads computes a tile of the result. It stages slabs of a few k in
shared memory, the next one on its way in registers while this one is multiplied; a thread's share of the tile stays in
registers. The reduction may be split over blocks: they leave their sums in `work`, and the block that comes last adds
them up in the order of the splits, so that equal calls give equal bits.

A thread reads four operands from global memory for each 256 multiply-adds of a large tile: one by one, because shifted
by a tap they are aligned to nothing. From shared memory, eight numbers for each 32, it reads 16 bytes at a time.
"""

from typing import Any, NamedTuple

from numba_tconv.backends.cuda.access import load, load2, load4, store, store2, store4
from numba_tconv.backends.cuda.compiler import ALIGNMENT, compile_kernel, cuda, inlined, types
from numba_tconv.backends.cuda.parts import Parts, negative

int32, int64, uint32 = types.int32, types.int64, types.uint32


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


UNSIGNED = {int32: uint32, int64: types.uint64}
PANEL = 128  # k whose places are noted at a time: a multiple of every slab


def staged(length: int) -> int:
    """Return the distance of rows in shared memory: neighbours along the reduction are in different banks."""
    return length + 4


@inlined
def carry(outer, inner, size):
    """Return a pair of indices whose inner one has gone beyond its end, by less than 2**31; it needs 32 bits only."""
    turns = uint32(inner) // uint32(size)
    return outer + int64(turns), int64(uint32(inner) - turns * uint32(size))


@inlined
def inside(at, length, unsigned):
    """Return whether 0 <= at < length, by one comparison: below zero, unsigned numbers are large."""
    return unsigned(at) < unsigned(length)


def repeat(step, times, a_stride, b_stride):
    """Return the function that takes a step for each of some k: straight code, for loads to go ahead of products."""
    if times == 1:
        return step
    half = times // 2
    first, second = (repeat(step, half, a_stride, b_stride) for _ in range(2))

    @inlined
    def both(stage, a_at, b_at, sums, a, b):
        first(stage, a_at, b_at, sums, a, b)
        second(stage, a_at + half * a_stride, b_at + half * b_stride, sums, a, b)

    return both


def make_loader(tile, size, along_k, real, unsigned, parts=(1, 1), minus=(1, 1)):
    """Return how a thread fetches its numbers of a slab, how it stages them, and how many they are.

    `size` is that of the operand's side of the tile: rows of `a` or columns of `b`, called lines here.
    """
    THREADS, SLAB = tile.threads, tile.slab
    K_LANES = SLAB if along_k else max(1, THREADS // size)
    LANES = THREADS // K_LANES
    LINES, KS = size // LANES, SLAB // K_LANES
    LENGTH = staged(size)
    IS_COMPLEX = parts == (2, 2)
    MAY_SUBTRACT = parts[0] > minus[0] and parts[1] > minus[1]
    MINUS_LINE, MINUS_K = minus
    LINE_PARTS, K_PARTS = parts

    @inlined
    def places(thread):
        """Return the first line and the first k of a thread."""
        if along_k:
            return thread // K_LANES, thread % K_LANES
        return thread % LANES, thread // LANES

    @inlined
    def fetch(values, array, length, lines, ks, first_k, thread):
        first_line, k_lane = places(thread)
        for i in range(uint32(LINES)):
            line = first_line + int32(i) * LANES
            line_place, line_when = load2(lines, 2 * line)
            for j in range(uint32(KS)):
                k = k_lane + int32(j) * K_LANES
                k_place, k_when = load2(ks, 2 * (first_k + k))
                place = line_place + k_place
                if IS_COMPLEX:
                    place -= 2 * (line & k & 1)  # two imaginary parts are one real part
                value = real(0)
                if inside(line_when + k_when, length, unsigned):
                    value = real(load(array, place))
                if MAY_SUBTRACT and line % LINE_PARTS == MINUS_LINE and k % K_PARTS == MINUS_K:
                    value = -value
                values[i * KS + j] = value

    @inlined
    def put(values, stage, start, thread):
        first_line, k_lane = places(thread)
        for i in range(uint32(LINES)):
            for j in range(uint32(KS)):
                at = start + (k_lane + int32(j) * K_LANES) * LENGTH + first_line + int32(i) * LANES
                store(stage, at, values[i * KS + j])

    return fetch, put, LINES * KS


def make_kernel(tile: Tile, lanes: Lanes, parts: Parts, conjugate: bool, real: Any, time: Any = int32) -> Any:
    """Return the kernel `(a, b, bias, out, work, arrived, problem)` that computes in the type `real`.

    Places in time have the type `time`: any sum of two of them and `gap` has to stay below a quarter of its range.
    """
    ROWS, COLUMNS, R, C, SLAB, _ = tile
    THREADS, TILE = tile.threads, ROWS * COLUMNS
    THREAD_ROWS, THREAD_COLUMNS = ROWS // R, COLUMNS // C
    STRIP = min(8, THREAD_COLUMNS)
    # Rows and columns of one group of four in every thread.
    ROW_GROUPS, COLUMN_GROUPS = R // 4, C // 4
    ROW_GROUP, COLUMN_GROUP = 4 * THREAD_ROWS, 4 * THREAD_COLUMNS
    A_LENGTH, B_LENGTH = staged(ROWS), staged(COLUMNS)
    OUT_LENGTH, CHUNK = COLUMN_GROUP + 4, ROW_GROUP * COLUMN_GROUP
    B_STAGE = 2 * SLAB * A_LENGTH
    STAGE = max(B_STAGE + 2 * SLAB * B_LENGTH, ROW_GROUP * OUT_LENGTH)
    PM, PN, PK = parts
    ROW_PAIRS, COLUMN_PAIRS, K_PAIRS, BIASES = 2 * ROWS, 2 * COLUMNS, 2 * PANEL, ROWS * PN
    ROW_TURNS, COLUMN_TURNS, PANEL_TURNS = -(-ROWS // THREADS), -(-COLUMNS // THREADS), -(-PANEL // THREADS)
    NEVER = -(1 << (time.bitwidth - 2))  # before every beginning, whatever is added
    unsigned = UNSIGNED[time]
    fetch_a, stage_a, A_LOADS = make_loader(tile, ROWS, lanes.a_along_k, real, unsigned, (PM, PK), negative(conjugate))
    fetch_b, stage_b, B_LOADS = make_loader(tile, COLUMNS, lanes.b_along_k, real, unsigned)

    @inlined
    def lay_out_rows(a_rows, out_rows, biases, bias, problem, group, first, thread):
        """Note where the rows of a tile are, in `a` and in the result."""
        first_outer, first_inner = first // PM // problem.m_inner, first // PM % problem.m_inner
        for turn in range(uint32(ROW_TURNS)):
            i = thread + int32(turn) * THREADS
            if i >= ROWS:
                break
            outer, inner = carry(first_outer, first_inner + i // PM, problem.m_inner)
            exists, part = first + i < problem.m, i % PM
            when = problem.a_t + inner * problem.a_t_m
            place = problem.a_start + group * problem.a_group + outer * problem.a_m + when * problem.a_time + part
            store2(a_rows, 2 * i, place, when if exists else NEVER)
            when = problem.out_t + inner * problem.out_t_m
            place = (
                problem.out_start + group * problem.out_group + outer * problem.out_m + when * problem.out_time + part
            )
            store2(out_rows, 2 * i, place, when if exists else NEVER)
            for column_part in range(PN):
                # The part of the result: that of the row or that of the column, of which one has only one.
                part = i % PM + column_part
                value = real(0)
                if exists and part < problem.bias_parts:
                    value = load(bias, group * problem.bias_group + outer * problem.bias_m + part)
                biases[i * PN + column_part] = value

    @inlined
    def lay_out_columns(b_columns, out_columns, problem, group, first, thread):
        """Note where the columns of a tile are, in `b` and in the result."""
        first_outer, first_inner = first // PN // problem.n_inner, first // PN % problem.n_inner
        for turn in range(uint32(COLUMN_TURNS)):
            i = thread + int32(turn) * THREADS
            if i >= COLUMNS:
                break
            outer, inner = carry(first_outer, first_inner + i // PN, problem.n_inner)
            exists, part = first + i < problem.n, i % PN
            when = problem.b_t + inner * problem.b_t_n
            place = problem.b_start + group * problem.b_group + outer * problem.b_n + when * problem.b_time + part
            store2(b_columns, 2 * i, place, when if exists else NEVER)
            when = inner * problem.out_t_n
            place = outer * problem.out_n + when * problem.out_time + part
            store2(out_columns, 2 * i, place, when if exists else NEVER)

    @inlined
    def lay_out_panel(a_ks, b_ks, problem, first_outer, first_inner, first, end, thread):
        """Note by how much the next few k move a row of `a` and a column of `b`; those from `end` on out of both."""
        for turn in range(uint32(PANEL_TURNS)):
            i = thread + int32(turn) * THREADS
            if i >= PANEL:
                break
            outer, inner = carry(first_outer, first_inner + (first + i) // PK, problem.k_inner)
            exists, part = first + i < end, i % PK
            when = inner * problem.a_t_k
            store2(a_ks, 2 * i, outer * problem.a_k + when * problem.a_time + part, when if exists else NEVER)
            when = inner * problem.b_t_k
            store2(b_ks, 2 * i, outer * problem.b_k + when * problem.b_time + part, when if exists else NEVER)

    @inlined
    def multiply(stage, a_at, b_at, sums, a, b):
        """Add the products of one k."""
        for i in range(uint32(ROW_GROUPS)):
            a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3] = load4(stage, a_at + int32(i) * ROW_GROUP)
        for j in range(uint32(COLUMN_GROUPS)):
            b[4 * j], b[4 * j + 1], b[4 * j + 2], b[4 * j + 3] = load4(stage, b_at + int32(j) * COLUMN_GROUP)
        for i in range(uint32(R)):
            for j in range(uint32(C)):
                sums[i, j] += a[i] * b[j]

    multiply_slab = repeat(multiply, SLAB, A_LENGTH, B_LENGTH)

    @inlined
    def add_splits(work, arrived, is_last, problem, base, split, sums, thread):
        """Leave the sums of a split in `work`, or, in the block that comes last, add those of all; return whether."""
        place = base * problem.splits * TILE + thread
        for i in range(uint32(R)):
            for j in range(uint32(C)):
                store(work, place + split * TILE + (int32(i) * C + int32(j)) * THREADS, sums[i, j])
        cuda.threadfence()
        cuda.syncthreads()
        if thread == 0:
            # The last one sets it back to zero, for the next call.
            ticket = cuda.atomic.inc(arrived, base, uint32(problem.splits - 1))
            is_last[0] = uint32(1) if ticket == uint32(problem.splits - 1) else uint32(0)
        cuda.syncthreads()
        last = is_last[0] == uint32(1)
        if last:
            cuda.threadfence()
            for i in range(uint32(R)):
                for j in range(uint32(C)):
                    sums[i, j] = real(0)
            for other in range(problem.splits):
                for i in range(uint32(R)):
                    for j in range(uint32(C)):
                        sums[i, j] += load(work, place + other * TILE + (int32(i) * C + int32(j)) * THREADS)
        return last

    @inlined
    def write(out, problem, out_rows, out_columns, biases, stage, sums, row, column, thread):
        """Write sums and biases, by way of shared memory: neighbouring threads then write neighbouring samples.

        Those of 2**weave rows come first, then those of the columns.
        """
        for i in range(uint32(R)):
            for j in range(uint32(C)):
                sums[i, j] += biases[(row + int32(i) // 4 * ROW_GROUP + int32(i) % 4) * PN + int32(j) % PN]
        mask, length, time_step = (1 << problem.weave) - 1, problem.out_length, problem.out_time
        for i in range(uint32(ROW_GROUPS)):
            for j in range(uint32(COLUMN_GROUPS)):
                for r in range(uint32(4)):
                    store4(
                        stage, (row + int32(r)) * OUT_LENGTH + column,
                        sums[4 * i + r, 4 * j], sums[4 * i + r, 4 * j + 1],
                        sums[4 * i + r, 4 * j + 2], sums[4 * i + r, 4 * j + 3],
                    )  # fmt: skip
                cuda.syncthreads()
                for e in range(thread, CHUNK, THREADS):
                    n_here = (e >> problem.weave) % COLUMN_GROUP
                    m_here = ((e >> problem.weave) // COLUMN_GROUP << problem.weave) + (e & mask)
                    m, n = m_here + int32(i) * ROW_GROUP, n_here + int32(j) * COLUMN_GROUP
                    row_place, row_when = load2(out_rows, 2 * m)
                    column_place, column_when = load2(out_columns, 2 * n)
                    place, when = row_place + column_place, row_when + column_when
                    if inside(when, length, unsigned):
                        store(out, place, load(stage, m_here * OUT_LENGTH + n_here))
                    for more in range(1, problem.gap):
                        if inside(when + more, length, unsigned):
                            store(out, place + more * time_step, biases[m * PN + n % PN])
                cuda.syncthreads()

    def contraction(a, b, bias, out, work, arrived, problem):
        stage = cuda.shared.array(STAGE, real, ALIGNMENT)
        # Pairs (place in memory, place in time): registers have no room for them.
        a_rows = cuda.shared.array(ROW_PAIRS, int64, ALIGNMENT)
        out_rows = cuda.shared.array(ROW_PAIRS, int64, ALIGNMENT)
        b_columns = cuda.shared.array(COLUMN_PAIRS, int64, ALIGNMENT)
        out_columns = cuda.shared.array(COLUMN_PAIRS, int64, ALIGNMENT)
        a_ks = cuda.shared.array(K_PAIRS, int64, ALIGNMENT)
        b_ks = cuda.shared.array(K_PAIRS, int64, ALIGNMENT)
        biases = cuda.shared.array(BIASES, real)
        is_last = cuda.shared.array(1, uint32)
        sums = cuda.local.array((R, C), real)
        a_next = cuda.local.array(A_LOADS, real)
        b_next = cuda.local.array(B_LOADS, real)
        a_row = cuda.local.array(R, real)
        b_row = cuda.local.array(C, real)

        thread = int32(cuda.threadIdx.x)
        # A warp reads four rows and eight columns of threads: 128 neighbouring bytes and fewer.
        row = thread // STRIP % THREAD_ROWS * 4
        column = (thread // (STRIP * THREAD_ROWS) * STRIP + thread % STRIP) * 4
        m_tiles, n_tiles = (problem.m + ROWS - 1) // ROWS, (problem.n + COLUMNS - 1) // COLUMNS
        tile = int64(cuda.blockIdx.x)
        # Blocks that run at the same time share columns, the larger operand of most problems, in the L2 cache.
        m_tile, rest = tile % m_tiles, tile // m_tiles
        split, rest = rest % problem.splits, rest // problem.splits
        n_tile, group = rest % n_tiles, rest // n_tiles
        k_first = split * problem.slabs * SLAB
        k_size = int32(min(problem.k - k_first, problem.slabs * SLAB))  # of the split
        lay_out_rows(a_rows, out_rows, biases, bias, problem, group, m_tile * ROWS, thread)
        lay_out_columns(b_columns, out_columns, problem, group, n_tile * COLUMNS, thread)
        first_outer, first_inner = k_first // PK // problem.k_inner, k_first // PK % problem.k_inner
        lay_out_panel(a_ks, b_ks, problem, first_outer, first_inner, 0, k_size, thread)
        for i in range(uint32(R)):
            for j in range(uint32(C)):
                sums[i, j] = real(0)
        cuda.syncthreads()

        fetch_a(a_next, a, problem.a_length, a_rows, a_ks, 0, thread)
        fetch_b(b_next, b, problem.b_length, b_columns, b_ks, 0, thread)
        stage_a(a_next, stage, 0, thread)
        stage_b(b_next, stage, B_STAGE, thread)
        cuda.syncthreads()
        half = int32(0)
        # The next slab, which behind the last one is zero, is on its way while one is multiplied.
        k = int32(0)
        while k < k_size:
            k = int32(k + SLAB)
            if k % PANEL == 0:
                lay_out_panel(a_ks, b_ks, problem, first_outer, first_inner, k, k_size, thread)
                cuda.syncthreads()
            fetch_a(a_next, a, problem.a_length, a_rows, a_ks, k % PANEL, thread)
            fetch_b(b_next, b, problem.b_length, b_columns, b_ks, k % PANEL, thread)
            multiply_slab(stage, half * A_LENGTH + row, B_STAGE + half * B_LENGTH + column, sums, a_row, b_row)
            # Into the other half than threads read that are still multiplying.
            half = int32(SLAB - half)
            stage_a(a_next, stage, half * A_LENGTH, thread)
            stage_b(b_next, stage, B_STAGE + half * B_LENGTH, thread)
            cuda.syncthreads()

        writes = True
        if problem.splits > 1:
            base = (group * n_tiles + n_tile) * m_tiles + m_tile
            writes = add_splits(work, arrived, is_last, problem, base, split, sums, thread)
        if writes:
            write(out, problem, out_rows, out_columns, biases, stage, sums, row, column, thread)

    return compile_kernel(contraction, THREADS, tile.blocks)
