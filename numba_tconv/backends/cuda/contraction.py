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

from numba_tconv.backends.cuda.access import load, load4, store, store4
from numba_tconv.backends.cuda.compiler import ALIGNMENT, compile_kernel, cuda, types
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


def make_kernel(tile: Tile, lanes: Lanes, parts: Parts, conjugate: bool, real: Any, time: Any = int32) -> Any:
    """Return the kernel `(a, b, bias, out, work, arrived, problem)` that computes in the type `real`.

    Places in time have the type `time`: every sum of two of them and `gap` has to stay below a quarter of its range.
    """
    NEVER = -(1 << (time.bitwidth - 2))  # before every beginning, whatever is added
    ROWS, COLUMNS, R, C, SLAB, _ = tile
    THREADS, TILE = tile.threads, ROWS * COLUMNS
    THREAD_COLUMNS = COLUMNS // C
    # Rows and columns of one group of four in every thread.
    ROW_GROUP, COLUMN_GROUP = ROWS // (R // 4), COLUMNS // (C // 4)
    ROW_GROUPS, COLUMN_GROUPS = R // 4, C // 4
    # Four numbers more than a row has: neighbours along the reduction are then in different banks of shared memory.
    A_ROW, B_ROW, OUT_ROW = ROWS + 4, COLUMNS + 4, COLUMN_GROUP + 4
    B_STAGE = 2 * SLAB * A_ROW
    STAGE = max(B_STAGE + 2 * SLAB * B_ROW, ROW_GROUP * OUT_ROW)
    CHUNK = ROW_GROUP * COLUMN_GROUP
    GROUP = THREADS // SLAB  # threads that load operands of one k
    A_LOADS, B_LOADS = ROWS // GROUP, COLUMNS // GROUP
    A_ALONG_K, B_ALONG_K = lanes
    PM, PN, PK = parts
    BIASES = ROWS * PN
    MINUS_M, MINUS_K = negative(conjugate)
    MAY_SUBTRACT = PM > MINUS_M and PK > MINUS_K

    def contraction(a, b, bias, out, work, arrived, problem):
        (
            groups, m_size, n_size, k_size, m_inner, n_inner, k_inner, splits, slabs,
            a_start, a_group, a_m, a_k, a_time, a_t, a_t_m, a_t_k, a_length,
            b_start, b_group, b_n, b_k, b_time, b_t, b_t_n, b_t_k, b_length,
            out_start, out_group, out_m, out_n, out_time, out_t, out_t_m, out_t_n, out_length, gap, weave,
            bias_group, bias_m, bias_parts,
        ) = problem  # fmt: skip
        stage = cuda.shared.array(STAGE, real, ALIGNMENT)
        # Where the rows and columns of a tile lie, and when: registers have no room for it.
        a_place = cuda.shared.array(ROWS, int64)
        a_when = cuda.shared.array(ROWS, time)
        b_place = cuda.shared.array(COLUMNS, int64)
        b_when = cuda.shared.array(COLUMNS, time)
        row_place = cuda.shared.array(ROWS, int64)
        row_when = cuda.shared.array(ROWS, time)
        row_bias = cuda.shared.array(BIASES, real)
        column_place = cuda.shared.array(COLUMNS, int64)
        column_when = cuda.shared.array(COLUMNS, time)
        is_last = cuda.shared.array(1, uint32)
        sums = cuda.local.array((R, C), real)
        a_next = cuda.local.array(A_LOADS, real)
        b_next = cuda.local.array(B_LOADS, real)
        a_row = cuda.local.array(R, real)
        b_row = cuda.local.array(C, real)

        thread = int32(cuda.threadIdx.x)
        row, column = thread // THREAD_COLUMNS * 4, thread % THREAD_COLUMNS * 4
        if A_ALONG_K:
            a_k_here, a_lane = thread % SLAB, thread // SLAB
        else:
            a_k_here, a_lane = thread // GROUP, thread % GROUP
        if B_ALONG_K:
            b_k_here, b_lane = thread % SLAB, thread // SLAB
        else:
            b_k_here, b_lane = thread // GROUP, thread % GROUP
        # Tiles and slabs begin at even numbers, so a thread loads the same part all the time.
        a_part = a_lane % PM ^ a_k_here % PK
        b_part = b_lane % PN + b_k_here % PK
        subtracts = MAY_SUBTRACT and a_lane % PM == MINUS_M and a_k_here % PK == MINUS_K

        k_outer = k_size // PK // k_inner
        # From slab to slab the outer index of the reduction goes on by `turns`, the inner one by `turn`, and is carried.
        turns, turn = SLAB // PK // k_inner, SLAB // PK % k_inner
        m_tiles, n_tiles = (m_size + ROWS - 1) // ROWS, (n_size + COLUMNS - 1) // COLUMNS
        tile = int64(cuda.blockIdx.x)
        while tile < m_tiles * n_tiles * splits * groups:
            # Blocks that run at the same time share columns, the larger operand of most problems, in the L2 cache.
            m_tile, rest = tile % m_tiles, tile // m_tiles
            split, rest = rest % splits, rest // splits
            n_tile, group = rest % n_tiles, rest // n_tiles

            for i in range(thread, ROWS, THREADS):
                m = m_tile * ROWS + i
                outer, inner = m // PM // m_inner, m // PM % m_inner
                when = a_t + inner * a_t_m
                a_when[i] = when if m < m_size else NEVER
                a_place[i] = a_start + group * a_group + outer * a_m + when * a_time
                when = out_t + inner * out_t_m
                row_when[i] = when if m < m_size else NEVER
                row_place[i] = out_start + group * out_group + outer * out_m + m % PM
                for part in range(PN):
                    # The part is that of the row or that of the column: one of them has but one.
                    row_bias[i * PN + part] = real(0)
                    if m % PM + part < bias_parts and m < m_size:
                        row_bias[i * PN + part] = load(bias, group * bias_group + outer * bias_m + m % PM + part)
            for i in range(thread, COLUMNS, THREADS):
                n = n_tile * COLUMNS + i
                outer, inner = n // PN // n_inner, n // PN % n_inner
                when = b_t + inner * b_t_n
                b_when[i] = when if n < n_size else NEVER
                b_place[i] = b_start + group * b_group + outer * b_n + when * b_time
                column_when[i] = inner * out_t_n if n < n_size else NEVER
                column_place[i] = outer * out_n + n % PN
            cuda.syncthreads()

            k_first = split * slabs * SLAB
            a_index, b_index = (k_first + a_k_here) // PK, (k_first + b_k_here) // PK
            a_outer, a_inner = a_index // k_inner, a_index % k_inner
            b_outer, b_inner = b_index // k_inner, b_index % k_inner
            for i in range(uint32(R)):
                for j in range(uint32(C)):
                    sums[i, j] = real(0)
            last = min(slabs, (k_size - k_first + SLAB - 1) // SLAB)
            half = int32(0)
            # In turn `slab`, this one is loaded to registers, the one before it is multiplied, and this one is staged.
            for slab in range(last + 1):
                if slab < last:
                    t = time(a_inner * a_t_k)
                    place = a_outer * a_k + t * a_time + a_part
                    for i in range(uint32(A_LOADS)):
                        m = a_lane + int32(i) * GROUP
                        at = a_when[m] + t
                        value = real(0)
                        if a_outer < k_outer and at >= 0 and at < a_length:
                            value = real(load(a, a_place[m] + place))
                        a_next[i] = -value if subtracts else value
                    t = time(b_inner * b_t_k)
                    place = b_outer * b_k + t * b_time + b_part
                    for i in range(uint32(B_LOADS)):
                        n = b_lane + int32(i) * GROUP
                        at = b_when[n] + t
                        value = real(0)
                        if b_outer < k_outer and at >= 0 and at < b_length:
                            value = real(load(b, b_place[n] + place))
                        b_next[i] = value
                    a_outer, a_inner = a_outer + turns, a_inner + turn
                    if a_inner >= k_inner:
                        a_outer, a_inner = a_outer + 1, a_inner - k_inner
                    b_outer, b_inner = b_outer + turns, b_inner + turn
                    if b_inner >= k_inner:
                        b_outer, b_inner = b_outer + 1, b_inner - k_inner
                if slab > 0:
                    for k in range(half, half + SLAB):
                        at = k * A_ROW + row
                        for i in range(uint32(ROW_GROUPS)):
                            a_row[4 * i], a_row[4 * i + 1], a_row[4 * i + 2], a_row[4 * i + 3] = load4(
                                stage, at + int32(i) * ROW_GROUP
                            )
                        at = B_STAGE + k * B_ROW + column
                        for j in range(uint32(COLUMN_GROUPS)):
                            b_row[4 * j], b_row[4 * j + 1], b_row[4 * j + 2], b_row[4 * j + 3] = load4(
                                stage, at + int32(j) * COLUMN_GROUP
                            )
                        for i in range(uint32(R)):
                            for j in range(uint32(C)):
                                sums[i, j] += a_row[i] * b_row[j]
                    half = SLAB - half
                if slab < last:
                    # In the other half than threads that are still multiplying read.
                    for i in range(uint32(A_LOADS)):
                        store(stage, (half + a_k_here) * A_ROW + a_lane + int32(i) * GROUP, a_next[i])
                    for i in range(uint32(B_LOADS)):
                        store(stage, B_STAGE + (half + b_k_here) * B_ROW + b_lane + int32(i) * GROUP, b_next[i])
                cuda.syncthreads()

            writes = True
            if splits > 1:
                base = (group * n_tiles + n_tile) * m_tiles + m_tile
                place = base * splits * TILE + thread
                for i in range(uint32(R)):
                    for j in range(uint32(C)):
                        store(work, place + split * TILE + (int32(i) * C + int32(j)) * THREADS, sums[i, j])
                cuda.threadfence()
                cuda.syncthreads()
                if thread == 0:
                    # The last one sets it back to zero, for the next call.
                    ticket = cuda.atomic.inc(arrived, base, uint32(splits - 1))
                    is_last[0] = uint32(1) if ticket == uint32(splits - 1) else uint32(0)
                cuda.syncthreads()
                writes = is_last[0] == uint32(1)
                if writes:
                    cuda.threadfence()
                    for i in range(uint32(R)):
                        for j in range(uint32(C)):
                            sums[i, j] = real(0)
                    for other in range(splits):
                        for i in range(uint32(R)):
                            for j in range(uint32(C)):
                                sums[i, j] += load(work, place + other * TILE + (int32(i) * C + int32(j)) * THREADS)

            if writes:
                # By way of shared memory, so that neighbouring threads write neighbouring samples: of 2**weave rows
                # first, then of the columns.
                mask = (1 << weave) - 1
                for i in range(uint32(ROW_GROUPS)):
                    for j in range(uint32(COLUMN_GROUPS)):
                        for r in range(uint32(4)):
                            store4(
                                stage, (row + int32(r)) * OUT_ROW + column,
                                sums[4 * i + r, 4 * j], sums[4 * i + r, 4 * j + 1],
                                sums[4 * i + r, 4 * j + 2], sums[4 * i + r, 4 * j + 3],
                            )  # fmt: skip
                        cuda.syncthreads()
                        for e in range(thread, CHUNK, THREADS):
                            n_here = (e >> weave) % COLUMN_GROUP
                            m_here = ((e >> weave) // COLUMN_GROUP << weave) + (e & mask)
                            m, n = m_here + int32(i) * ROW_GROUP, n_here + int32(j) * COLUMN_GROUP
                            when = row_when[m] + column_when[n]
                            place = row_place[m] + column_place[n]
                            value_bias = row_bias[m * PN + n % PN]
                            if row_when[m] != NEVER and column_when[n] != NEVER:
                                if when >= 0 and when < out_length:
                                    value = load(stage, m_here * OUT_ROW + n_here) + value_bias
                                    store(out, place + when * out_time, value)
                                for more in range(1, gap):
                                    if when + more >= 0 and when + more < out_length:
                                        store(out, place + (when + more) * out_time, value_bias)
                        cuda.syncthreads()
            cuda.syncthreads()
            tile += cuda.gridDim.x

    return compile_kernel(contraction, THREADS, tile.blocks)
