"""Complex numbers as real ones: how the products of two operands are told apart by the parts of their numbers.

Memory is read and written as real numbers, of which a complex one has two, its parts, one after the other. A product of
complex numbers is then four real ones, of a real and a complex one two, and of neither more. Which of the indices of

    out[m, n] += sum_k a[m, k] * b[k, n]

are doubled by parts follows from which arrays are complex.
"""

from typing import NamedTuple


class Parts(NamedTuple):
    """How many parts the rows m, the columns n and the reduction k have; 1 or 2.

    The part of `a` is that of the row joined with that of the reduction by exclusive or; of `b` that of the reduction
    and the column, of the result that of the row and the column.
    """

    m: int
    n: int
    k: int


# Of complex operands and a complex result: twice the rows and twice the reduction.
ALL_COMPLEX = Parts(2, 1, 2)


def parts(a: bool, b: bool, out: bool) -> Parts:
    """Return the parts for operands and a result that are complex or not.

    A real result of complex operands is the real part of the product of `b` and the conjugate of `a`.
    """
    return {
        (False, False, False): Parts(1, 1, 1),
        (False, True, True): Parts(1, 2, 1),
        (True, False, True): Parts(2, 1, 1),
        (True, True, True): ALL_COMPLEX,
        (True, True, False): Parts(1, 1, 2),
    }[a, b, out]


def negative(conjugate: bool) -> tuple[int, int]:
    """Return the parts (of the row, of the reduction) whose product with `a` or its conjugate is subtracted."""
    return (1, 0) if conjugate else (0, 1)


class View(NamedTuple):
    """Where the samples of an array lie in a flat memory of real numbers: of the first one, and along each axis."""

    start: int
    strides: tuple[int, ...]
