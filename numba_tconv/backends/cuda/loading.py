"""How the threads of a block load a slab of an operand: from where it lies to registers, and on to shared memory.

Where a number lies, and when, is the sum of what was noted of its line (a row of `a` or a column of `b`) and of its k:
for each of them a pair (place in memory in bytes, place in time) in shared memory. Registers have no room for so many,
and the few divisions that find them are done once a tile, or once for `PANEL` k.
"""

from numba_tconv.backends.cuda.access import load2, load_byte, store
from numba_tconv.backends.cuda.compiler import inlined, types

int32, int64, uint32, uint64 = types.int32, types.int64, types.uint32, types.uint64
PANEL = 128  # k that are noted at a time: a power of two, and a multiple of every slab


def staged(length):
    """Return the distance of the k in shared memory: at four more than a power of two they are in different banks."""
    return length + 4


@inlined
def as_pair(index, size):
    """Return an index as a pair of indices, the inner one below `size`."""
    outer = int64(uint64(index) // uint64(size))
    return outer, index - outer * size


@inlined
def carry(outer, inner, size):
    """Return a pair of indices whose inner one has gone beyond its end but is below 2**32: 32 bits are enough."""
    turns = uint32(inner) // uint32(size)
    return outer + int64(turns), int64(uint32(inner) - turns * uint32(size))


@inlined
def inside(at, length, unsigned):
    """Return whether 0 <= at < length, by one comparison: numbers below zero are large without a sign."""
    return unsigned(at) < unsigned(length)


def make_loader(tile, size, along_k, real, unsigned, lines_at, ks_at, parts=(1, 1), minus=(1, 1)):
    """Return how a thread fetches its numbers of a slab, how it stages them, and how many they are.

    The tile has `size` lines, noted in `places` from `lines_at` on; the k are from `ks_at` on. `parts` are those of
    lines and k, and what has the parts `minus` is subtracted.
    """
    # Neighbouring threads load neighbouring k, or neighbouring lines.
    K_LANES = tile.slab if along_k else max(1, tile.threads // size)
    LANES = tile.threads // K_LANES
    LINES, KS, LENGTH = size // LANES, tile.slab // K_LANES, staged(size)
    (LINE_PARTS, K_PARTS), (MINUS_LINE, MINUS_K) = parts, minus
    BOTH = LINE_PARTS == 2 and K_PARTS == 2
    MAY_SUBTRACT = LINE_PARTS > MINUS_LINE and K_PARTS > MINUS_K

    @inlined
    def first(thread):
        """Return the first line and the first k of a thread."""
        if along_k:
            return thread // K_LANES, thread % K_LANES
        return thread % LANES, thread // LANES

    @inlined
    def fetch(values, array, length, places, slab, thread):
        """Load numbers of the slab that begins at this k of the panel; zeros beyond the ends of time."""
        first_line, first_k = first(thread)
        for i in range(uint32(LINES)):
            line = first_line + int32(i) * LANES
            line_place, line_when = load2(places, 2 * (lines_at + line))
            for j in range(uint32(KS)):
                k = first_k + int32(j) * K_LANES
                k_place, k_when = load2(places, 2 * (ks_at + slab + k))
                # The part of `a` is one or the other, not their sum: of two imaginary ones it is the real one.
                excess = 2 * (line & k & 1) * array.itemsize if BOTH else 0
                value = real(0)
                if inside(line_when + k_when, length, unsigned):
                    value = real(load_byte(array, line_place - excess + k_place))
                if MAY_SUBTRACT and line % LINE_PARTS == MINUS_LINE and k % K_PARTS == MINUS_K:
                    value = -value
                values[i * KS + j] = value

    @inlined
    def put(values, stage, start, thread):
        """Store numbers to shared memory."""
        first_line, first_k = first(thread)
        for i in range(uint32(LINES)):
            for j in range(uint32(KS)):
                at = start + (first_k + int32(j) * K_LANES) * LENGTH + first_line + int32(i) * LANES
                store(stage, at, values[i * KS + j])

    return fetch, put, LINES * KS
