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

For each 512 multiply-adds of a large tile a thread loads eight numbers from global memory, one by one, because shifted
by a tap they are aligned to nothing, and 128 from shared memory, 16 bytes at a time. Of the 633 instructions of that
loop 512 multiply and add (compute capability 9.0). There is no loop over tiles: what the compiler moved out of it, it
had to spill.
"""

from typing import Any

from numba_tconv.backends.cuda.access import load, load2, load4, store, store2, store4
from numba_tconv.backends.cuda.compiler import ALIGNMENT, compile_kernel, cuda, inlined, types, unrolled
from numba_tconv.backends.cuda.loading import PANEL, as_pair, carry, inside, make_loader, staged
from numba_tconv.backends.cuda.parts import Parts, negative
from numba_tconv.backends.cuda.problems import Lanes, Tile

int32, int64, uint32, uint64 = types.int32, types.int64, types.uint32, types.uint64


def make_kernel(tile: Tile, lanes: Lanes, parts: Parts, conjugate: bool, real: Any, time: Any = int32) -> Any:
    """Return the kernel `(a, b, bias, out, work, arrived, problem)` that computes in the type `real`.

    It is launched with a block for each split of each tile, less than 2**31; a split has less than 2**30 k. Places in
    time have the type `time`: sums of two of them, and of two and `gap`, have to stay below a quarter of its range.
    """
    ROWS, COLUMNS, R, C, SLAB, _ = tile
    THREADS, TILE, SUMS = tile.threads, ROWS * COLUMNS, R * C
    THREAD_ROWS, THREAD_COLUMNS = ROWS // R, COLUMNS // C
    STRIP = min(8, THREAD_COLUMNS)
    # Rows and columns of one group of four in every thread.
    ROW_GROUPS, COLUMN_GROUPS = R // 4, C // 4
    ROW_GROUP, COLUMN_GROUP = 4 * THREAD_ROWS, 4 * THREAD_COLUMNS
    A_LENGTH, B_LENGTH = staged(ROWS), staged(COLUMNS)
    OUT_LENGTH, CHUNK = COLUMN_GROUP + 4, ROW_GROUP * COLUMN_GROUP
    B_STAGE = 2 * SLAB * A_LENGTH
    STAGE = max(B_STAGE + 2 * SLAB * B_LENGTH, ROW_GROUP * OUT_LENGTH)
    # Where what is noted of rows, columns and k begins in `places`.
    A_ROWS, OUT_ROWS, B_COLUMNS = 0, ROWS, 2 * ROWS
    OUT_COLUMNS, A_KS = B_COLUMNS + COLUMNS, B_COLUMNS + 2 * COLUMNS
    B_KS = A_KS + PANEL
    PAIRS = 2 * (B_KS + PANEL)
    ROW_TURNS, COLUMN_TURNS, PANEL_TURNS = -(-ROWS // THREADS), -(-COLUMNS // THREADS), -(-PANEL // THREADS)
    PM, PN, PK = parts
    BIASES = ROWS * PN
    NEVER = -(1 << (time.bitwidth - 2))  # before every beginning, whatever is added
    unsigned = {int32: uint32, int64: uint64}[time]
    fetch_a, stage_a, A_LOADS = make_loader(
        tile, ROWS, lanes.a_along_k, real, unsigned, A_ROWS, A_KS, (PM, PK), negative(conjugate)
    )
    fetch_b, stage_b, B_LOADS = make_loader(tile, COLUMNS, lanes.b_along_k, real, unsigned, B_COLUMNS, B_KS)

    @inlined
    def lay_out_rows(places, biases, bias, problem, a_bytes, group, k_outer, first, thread):
        """Note where the rows of a tile are, in `a` and in the result."""
        first_outer, first_inner = as_pair(first // PM, problem.m_inner)
        a_start = problem.a_start + group * problem.a_group + k_outer * problem.a_k
        out_start = problem.out_start + group * problem.out_group
        for turn in range(uint32(ROW_TURNS)):
            i = thread + int32(turn) * THREADS
            if i >= ROWS:
                break
            outer, inner = carry(first_outer, first_inner + i // PM, problem.m_inner)
            exists, part = first + i < problem.m, i % PM
            when = problem.a_t + inner * problem.a_t_m
            place = (a_start + outer * problem.a_m + when * problem.a_time + part) * a_bytes
            store2(places, 2 * (A_ROWS + i), place, when if exists else NEVER)
            when = problem.out_t + inner * problem.out_t_m
            place = out_start + outer * problem.out_m + when * problem.out_time + part
            store2(places, 2 * (OUT_ROWS + i), place, when if exists else NEVER)
            for column_part in range(PN):
                # The part of the result: that of the row or that of the column, of which one has only one.
                part = i % PM + column_part
                value = real(0)
                if exists and part < problem.bias_parts:
                    value = load(bias, group * problem.bias_group + outer * problem.bias_m + part)
                biases[i * PN + column_part] = value

    @inlined
    def lay_out_columns(places, problem, b_bytes, group, k_outer, first, thread):
        """Note where the columns of a tile are, in `b` and in the result."""
        first_outer, first_inner = as_pair(first // PN, problem.n_inner)
        b_start = problem.b_start + group * problem.b_group + k_outer * problem.b_k
        for turn in range(uint32(COLUMN_TURNS)):
            i = thread + int32(turn) * THREADS
            if i >= COLUMNS:
                break
            outer, inner = carry(first_outer, first_inner + i // PN, problem.n_inner)
            exists, part = first + i < problem.n, i % PN
            when = problem.b_t + inner * problem.b_t_n
            place = (b_start + outer * problem.b_n + when * problem.b_time + part) * b_bytes
            store2(places, 2 * (B_COLUMNS + i), place, when if exists else NEVER)
            when = inner * problem.out_t_n
            place = outer * problem.out_n + when * problem.out_time + part
            store2(places, 2 * (OUT_COLUMNS + i), place, when if exists else NEVER)

    @inlined
    def lay_out_panel(places, problem, a_bytes, b_bytes, k_inner, first, end, thread):
        """Note by how much the next few k move a row of `a` and a column of `b`; those from `end` on out of both."""
        for turn in range(uint32(PANEL_TURNS)):
            i = thread + int32(turn) * THREADS
            if i >= PANEL:
                break
            outer, inner = carry(0, k_inner + (first + i) // PK, problem.k_inner)
            exists, part = first + i < end, i % PK
            when = inner * problem.a_t_k
            place = (outer * problem.a_k + when * problem.a_time + part) * a_bytes
            store2(places, 2 * (A_KS + i), place, when if exists else NEVER)
            when = inner * problem.b_t_k
            place = (outer * problem.b_k + when * problem.b_time + part) * b_bytes
            store2(places, 2 * (B_KS + i), place, when if exists else NEVER)

    @inlined
    def clear_four(i, sums):
        """Set four of a thread's sums to zero."""
        sums[4 * i] = sums[4 * i + 1] = sums[4 * i + 2] = sums[4 * i + 3] = real(0)

    clear = unrolled(clear_four, SUMS // 4)

    @inlined
    def multiply(k, state):
        """Add the products of one k of a slab."""
        stage, a_at, b_at, sums, a, b = state
        for i in range(uint32(ROW_GROUPS)):
            at = a_at + k * A_LENGTH + int32(i) * ROW_GROUP
            a[4 * i], a[4 * i + 1], a[4 * i + 2], a[4 * i + 3] = load4(stage, at)
        for j in range(uint32(COLUMN_GROUPS)):
            at = b_at + k * B_LENGTH + int32(j) * COLUMN_GROUP
            b[4 * j], b[4 * j + 1], b[4 * j + 2], b[4 * j + 3] = load4(stage, at)
        for i in range(uint32(R)):
            for j in range(uint32(C)):
                sums[i * C + j] += a[i] * b[j]

    multiply_slab = unrolled(multiply, SLAB)

    @inlined
    def add_splits(work, arrived, here, problem, sums, thread):
        """Leave the sums of a split in `work`, or, in the block that comes last, add those of all; return whether."""
        base, split = int64(here[0]), int64(here[1])
        place = base * problem.splits * TILE + thread
        for i in range(uint32(SUMS)):
            store(work, place + split * TILE + int32(i) * THREADS, sums[i])
        cuda.threadfence()
        cuda.syncthreads()
        if thread == 0:
            # The last one sets it back to zero, for the next call.
            here[1] = cuda.atomic.inc(arrived, base, uint32(problem.splits - 1))
        cuda.syncthreads()
        last = here[1] == uint32(problem.splits - 1)
        if last:
            cuda.threadfence()
            for i in range(uint32(SUMS)):
                sums[i] = load(work, place + int32(i) * THREADS)
            for other in range(1, problem.splits):
                for i in range(uint32(SUMS)):
                    sums[i] += load(work, place + other * TILE + int32(i) * THREADS)
        return last

    @inlined
    def write_chunk(chunk, state):
        """Write one group of rows and columns of every thread, by way of shared memory.

        Neighbouring threads then write neighbouring samples: those of 2**weave rows first, then those of the columns.
        """
        i, j = chunk // COLUMN_GROUPS, chunk % COLUMN_GROUPS
        out, problem, places, biases, stage, sums, row, column, thread = state
        for r in range(uint32(4)):
            s = (4 * i + r) * C + 4 * j
            store4(stage, (row + int32(r)) * OUT_LENGTH + column, sums[s], sums[s + 1], sums[s + 2], sums[s + 3])
        cuda.syncthreads()
        weave, gap, length = uint32(problem.weave), int32(problem.gap), problem.out_length
        e = uint32(thread)
        while e < CHUNK:
            strip = uint32(e >> weave)
            n_here = strip % COLUMN_GROUP
            m_here = uint32(strip // COLUMN_GROUP << weave) + (e - uint32(strip << weave))
            m, n = m_here + i * ROW_GROUP, n_here + j * COLUMN_GROUP
            row_place, row_when = load2(places, 2 * (OUT_ROWS + m))
            column_place, column_when = load2(places, 2 * (OUT_COLUMNS + n))
            place, when = row_place + column_place, row_when + column_when
            value_bias = load(biases, m * PN + n % PN)
            if inside(when, length, unsigned):
                store(out, place, load(stage, m_here * OUT_LENGTH + n_here) + value_bias)
            more = int32(1)
            while more < gap:
                if inside(when + more, length, unsigned):
                    store(out, place + more * problem.out_time, value_bias)
                more = int32(more + 1)
            e = uint32(e + THREADS)
        cuda.syncthreads()

    write = unrolled(write_chunk, ROW_GROUPS * COLUMN_GROUPS)

    def contraction(a, b, bias, out, work, arrived, problem):
        stage = cuda.shared.array(STAGE, real, ALIGNMENT)
        places = cuda.shared.array(PAIRS, int64, ALIGNMENT)
        biases = cuda.shared.array(BIASES, real)
        here = cuda.shared.array(2, uint32)
        sums = cuda.local.array(SUMS, real)
        a_next = cuda.local.array(A_LOADS, real)
        b_next = cuda.local.array(B_LOADS, real)
        a_row = cuda.local.array(R, real)
        b_row = cuda.local.array(C, real)

        thread = int32(cuda.threadIdx.x)
        # A warp reads four rows and eight columns of threads: 128 neighbouring bytes and fewer.
        row = thread // STRIP % THREAD_ROWS * 4
        column = (thread // (STRIP * THREAD_ROWS) * STRIP + thread % STRIP) * 4
        # Blocks of a tile are neighbours, then come tiles of the same columns: they share `b`, the larger operand of
        # most problems, in the L2 cache.
        tile, splits = uint32(cuda.blockIdx.x), uint32(problem.splits)
        m_tiles, n_tiles = uint32((problem.m + ROWS - 1) // ROWS), uint32((problem.n + COLUMNS - 1) // COLUMNS)
        base, split = tile // splits, tile % splits
        m_tile, n_tile, group = base % m_tiles, base // m_tiles % n_tiles, base // m_tiles // n_tiles
        k_first = int64(split) * problem.slabs * SLAB
        k_size = int32(min(problem.k - k_first, problem.slabs * SLAB))  # of the split
        k_outer, k_inner = as_pair(k_first // PK, problem.k_inner)
        lay_out_rows(places, biases, bias, problem, a.itemsize, int64(group), k_outer, int64(m_tile) * ROWS, thread)
        lay_out_columns(places, problem, b.itemsize, int64(group), k_outer, int64(n_tile) * COLUMNS, thread)
        lay_out_panel(places, problem, a.itemsize, b.itemsize, k_inner, 0, k_size, thread)
        clear(0, sums)
        if thread == 0:
            here[0], here[1] = base, split
        cuda.syncthreads()

        fetch_a(a_next, a, problem.a_length, places, 0, thread)
        fetch_b(b_next, b, problem.b_length, places, 0, thread)
        stage_a(a_next, stage, 0, thread)
        stage_b(b_next, stage, B_STAGE, thread)
        cuda.syncthreads()
        half = int32(0)
        # The next slab, which behind the last one is zero, is on its way while one is multiplied.
        k = int32(0)
        while k < k_size:
            k = int32(k + SLAB)
            if k & (PANEL - 1) == 0:
                lay_out_panel(places, problem, a.itemsize, b.itemsize, k_inner, k, k_size, thread)
                cuda.syncthreads()
            fetch_a(a_next, a, problem.a_length, places, k & (PANEL - 1), thread)
            fetch_b(b_next, b, problem.b_length, places, k & (PANEL - 1), thread)
            state = stage, half * A_LENGTH + row, B_STAGE + half * B_LENGTH + column, sums, a_row, b_row
            multiply_slab(0, state)
            # Into the other half than threads read that are still multiplying.
            half = int32(SLAB - half)
            stage_a(a_next, stage, half * A_LENGTH, thread)
            stage_b(b_next, stage, B_STAGE + half * B_LENGTH, thread)
            cuda.syncthreads()

        writes = True
        if problem.splits > 1:
            writes = add_splits(work, arrived, here, problem, sums, thread)
        if writes:
            write(0, (out, problem, places, biases, stage, sums, row, column, thread))

    return compile_kernel(contraction, THREADS, tile.blocks)
