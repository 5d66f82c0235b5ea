"""How properties are declared: one descriptor, and rules that check a value, normalise it and describe themselves.

Here belongs what a value must be on its own, and that a refused assignment changes nothing. What the values must be
together is for the class that declares them to say, in `_resolve`.

A rule is called with a value and returns what is kept, or raises a TypeError or ValueError: without a text where the
rule's own words will do. The name of the property and the value are added in one place, `as_valid`. For the tests, a
rule gives values that it accepts, with what is kept of them, and values that it refuses.
"""

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Generic, Literal, Protocol, Self, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from numba_tconv.geometry import as_integer

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Rule(Protocol[T_co]):
    """What a value must be."""

    def __call__(self, value: Any) -> T_co:
        """Return what is kept of `value`, or raise."""

    def good(self) -> Iterable[tuple[Any, Any]]:
        """Return values that are accepted, each with what is kept of it."""

    def bad(self) -> Iterable[Any]:
        """Return values that are refused."""


def as_valid(name: str, rule: Rule[T], value: Any) -> T:
    """Return what `rule` keeps of `value`, or raise an error that names the property, the rule and the value."""
    try:
        return rule(value)
    except (TypeError, ValueError) as error:
        got = f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) and value.ndim else repr(value)
        raise type(error)(f"{name} must be {error.args[0] if error.args else rule}; got {got}") from None


def _as_scalar(value: Any) -> Any:
    """Return the number in an array without axes, else `value`."""
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value


class Integer:
    """An integer of at least `low`, 0 or 1; of any numeric class, integral floats included."""

    def __init__(self, low: Literal[0, 1]) -> None:
        self.low = low

    def __str__(self) -> str:
        return ("a non-negative integer", "a positive integer")[self.low]

    def __call__(self, value: Any) -> int:
        """Return an int."""
        number = _as_scalar(value)
        if isinstance(number, (float, np.floating)):
            if not float(number).is_integer():
                raise ValueError
            number = int(number)
        if isinstance(number, (int, np.integer)) and number >= 1 << 62:
            raise ValueError("below 2**62")
        try:
            return as_integer("", number, self.low)
        except (TypeError, ValueError) as error:
            raise type(error) from None

    def good(self) -> Iterable[tuple[Any, int]]:
        """Return one value of each numeric class, and the smallest one."""
        classes = ("float32", "float64", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
        return [(self.low, self.low), (3.0, 3), (np.array(3), 3), *((np.dtype(name).type(3), 3) for name in classes)]

    def bad(self) -> Iterable[Any]:
        """Return numbers that are too small, not integral or too large, and what is no number."""
        numbers = (self.low - 1, -5, float(self.low - 1), np.int8(-1), 1.5, np.float32(2.5), float("nan"), float("inf"))
        return [*numbers, 1 << 62, 1e300, True, np.True_, "2", None, 2j, [2], (2,), np.array([2]), np.array(2.5), {}]


class AutoOr:
    """'auto', or what another rule accepts."""

    def __init__(self, rule: Rule[int]) -> None:
        self.rule = rule

    def __str__(self) -> str:
        return f"'auto' or {self.rule}"

    def __call__(self, value: Any) -> int | str:
        """Return 'auto' or what the other rule keeps."""
        return "auto" if isinstance(value, str) and value.lower() == "auto" else self.rule(value)

    def good(self) -> Iterable[tuple[Any, Any]]:
        """Return the word and what the other rule accepts."""
        return [("auto", "auto"), ("Auto", "auto"), *self.rule.good()]

    def bad(self) -> Iterable[Any]:
        """Return another word and what the other rule refuses."""
        return ["automatic", *self.rule.bad()]


class Pair:
    """Two integers of at least 0, of the left and the right end."""

    def __str__(self) -> str:
        return "two non-negative integers (left, right)"

    def __call__(self, value: Any) -> tuple[int, int]:
        """Return a tuple of two ints."""
        if not isinstance(value, (tuple, list)) and not (isinstance(value, np.ndarray) and value.ndim == 1):
            raise TypeError
        if len(value) != 2:
            raise ValueError
        try:
            return Integer(0)(value[0]), Integer(0)(value[1])
        except (TypeError, ValueError) as error:
            raise type(error) from None

    def good(self) -> Iterable[tuple[Any, tuple[int, int]]]:
        """Return a pair of each kind."""
        return [
            ((0, 0), (0, 0)),
            ([1, 2.0], (1, 2)),
            (np.array([3, 0], np.uint8), (3, 0)),
            (np.array([0.0, 4]), (0, 4)),
        ]

    def bad(self) -> Iterable[Any]:
        """Return what is no pair, and pairs of what is refused."""
        return [(), (1,), [1, 2, 3], {1, 2}, "12", None, 1.5, np.array([[1, 2]]), *((0, n) for n in Integer(0).bad())]


class Crop:
    """How much to cut: an integer for both ends, one for either end, or 'same'."""

    def __str__(self) -> str:
        return f"{Integer(0)}, {Pair()} or 'same'"

    def __call__(self, value: Any) -> tuple[int, int] | Literal["same"]:
        """Return (left, right) or 'same'."""
        if isinstance(value, str):
            if value.lower() != "same":
                raise ValueError
            return "same"
        try:
            if np.ndim(value):
                return Pair()(value)
            both = Integer(0)(value)
        except (TypeError, ValueError) as error:
            raise type(error) from None
        return both, both

    def good(self) -> Iterable[tuple[Any, Any]]:
        """Return what `Integer` and `Pair` accept, and the word."""
        return [
            ("same", "same"),
            ("SAME", "same"),
            *((n, (kept, kept)) for n, kept in Integer(0).good()),
            *Pair().good(),
        ]

    def bad(self) -> Iterable[Any]:
        """Return what neither of them accepts, and another word."""
        return ["valid", "", *Integer(0).bad(), *Pair().bad()]


class Interval:
    """A number between two ends, each of which belongs to it or not: ``"[)"`` includes the first alone."""

    def __init__(self, low: float, high: float, ends: Literal["[]", "[)", "(]", "()"]) -> None:
        self.low, self.high, self.ends = float(low), float(high), ends

    def __str__(self) -> str:
        return f"a number in {self.ends[0]}{self.low:g}, {self.high:g}{self.ends[1]}"

    def __call__(self, value: Any) -> float:
        """Return a float."""
        number = _as_scalar(value)
        if isinstance(number, bool) or not isinstance(number, (int, float, np.integer, np.floating)):
            raise TypeError
        try:
            number = float(number)
        except OverflowError:
            raise ValueError from None
        above = number >= self.low if self.ends[0] == "[" else number > self.low
        below = number <= self.high if self.ends[1] == "]" else number < self.high
        if not (above and below):
            raise ValueError
        return number

    def good(self) -> Iterable[tuple[Any, float]]:
        """Return numbers of several classes, and the ends that belong to it."""
        inside: tuple[Any, ...] = (0.5, np.float32(0.25), np.array(0.125), np.float64(0.75))
        return [(number, float(number)) for number in (*self._ends("[]"), *inside)]

    def bad(self) -> Iterable[Any]:
        """Return the ends that do not belong to it, what lies outside, and what is no number."""
        outside = (self.low - 0.5, -float("inf"), -(10**400), float("nan"), np.float32("nan"))
        return [*self._ends("()"), *outside, True, np.True_, "1", None, 1j, [0.5], np.array([0.5])]

    def _ends(self, marks: str) -> list[float]:
        return [end for end, mark in zip((self.low, self.high), self.ends, strict=True) if mark in marks]


class Real(Interval):
    """A finite number of at least 0."""

    def __init__(self) -> None:
        super().__init__(0, float("inf"), "[)")

    def __str__(self) -> str:
        return "a finite non-negative number"

    def good(self) -> Iterable[tuple[Any, float]]:
        """Return integers too."""
        return [*super().good(), (2, 2.0), (np.uint8(3), 3.0)]


class OneOf:
    """One of some words, matched without regard to case."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def __str__(self) -> str:
        return " or ".join(map(repr, self.words))

    def __call__(self, value: Any) -> str:
        """Return the word as it was declared."""
        if not isinstance(value, str):
            raise TypeError
        if value.lower() not in self.words:
            raise ValueError
        return value.lower()

    def good(self) -> Iterable[tuple[Any, str]]:
        """Return each word in two ways."""
        return [(form, word) for word in self.words for form in (word, word.upper())]

    def bad(self) -> Iterable[Any]:
        """Return another word, and what is none."""
        return ["", "other", f"{self.words[0]} ", None, 1, list(self.words)]


class WordOrCallable:
    """One of some words, which may have other spellings, or a function."""

    def __init__(self, *words: str, spellings: Mapping[str, str] | None = None) -> None:
        self.words = OneOf(*words)
        self.spellings = spellings or {}

    def __str__(self) -> str:
        return f"{', '.join(map(repr, self.words.words))} or a function of the size"

    def __call__(self, value: Any) -> str | Callable[..., Any]:
        """Return the word as it was declared, or the function."""
        if callable(value):
            return value  # type: ignore[no-any-return]
        return self.words(self.spellings.get(value.lower(), value) if isinstance(value, str) else value)

    def good(self) -> Iterable[tuple[Any, Any]]:
        """Return each word, each spelling and a function."""
        return [
            *self.words.good(),
            *((form.upper(), word) for form, word in self.spellings.items()),
            (np.ones, np.ones),
        ]

    def bad(self) -> Iterable[Any]:
        """Return another word, and what is neither."""
        return self.words.bad()


class Text:
    """A text."""

    def __str__(self) -> str:
        return "a text"

    def __call__(self, value: Any) -> str:
        """Return a str."""
        if not isinstance(value, str):
            raise TypeError
        return str(value)

    def good(self) -> Iterable[tuple[Any, str]]:
        """Return texts."""
        return [("", ""), ("up 1", "up 1"), ("µ's", "µ's"), (np.str_("up"), "up")]

    def bad(self) -> Iterable[Any]:
        """Return what is no text."""
        return [None, 1, b"up", ["up"]]


class Constant(Generic[T]):
    """Always the same value."""

    def __init__(self, value: T) -> None:
        self.value = value

    def __str__(self) -> str:
        return f"always {self.value!r}"

    def __call__(self, value: Any) -> T:
        """Return the constant, if that is what was given."""
        if value != self.value:
            raise ValueError
        return self.value

    def good(self) -> Iterable[tuple[Any, T]]:
        """Return the constant."""
        return [(self.value, self.value)]

    def bad(self) -> Iterable[Any]:
        """Return something else."""
        return [object()]


class Learnable:
    """A real float32 or float64 array whose axes have names, one of which may be left out where its size is 1.

    It is kept in column-major order and handed out as a read-only view.
    """

    def __init__(self, *axes: str, optional: str) -> None:
        self.axes, self.optional = axes, optional

    def __str__(self) -> str:
        short = " x ".join(axis for axis in self.axes if axis != self.optional)
        return f"a real float32 or float64 array, {' x '.join(self.axes)} or {short}"

    def __call__(self, value: Any) -> NDArray[Any]:
        """Return a read-only copy with all axes, or an array of the shape (0, 0) where nothing is set."""
        if isinstance(value, np.ma.MaskedArray):  # asarray would drop the mask
            raise TypeError
        try:
            array = np.asarray([] if value is None else value)
        except (TypeError, ValueError) as error:
            raise type(error) from None
        if array.size == 0 and not any(array.shape):
            return frozen(np.empty((0, 0)))
        if array.dtype.kind in "iu" and isinstance(value, (list, tuple)):
            array = array.astype(np.float64)  # literals are read as MATLAB reads them
        if array.dtype.char not in ("f", "d"):  # long double may equal float64, and is still another dtype
            raise TypeError
        if array.ndim == len(self.axes) - 1:
            array = np.expand_dims(array, self.axes.index(self.optional))
        if array.ndim != len(self.axes) or 0 in array.shape:
            raise ValueError
        return frozen(array)

    def good(self) -> Iterable[tuple[Any, NDArray[Any]]]:
        """Return the ways to say that nothing is set; other values depend on the sizes."""
        nothing: tuple[Any, ...] = (None, [], (), np.empty((0, 0)), np.zeros(0, np.float32))
        return [(value, np.empty((0, 0))) for value in nothing]

    def bad(self) -> Iterable[Any]:
        """Return arrays of other dtypes, of too few or too many axes, and what is no array."""
        shape = (2,) * len(self.axes)
        dtypes = ("int32", "bool", "float16", "complex64", "longdouble", "object")
        arrays: list[Any] = [np.ones(shape, dtype) for dtype in dtypes]
        arrays += [np.ma.masked_array(np.ones(shape)), np.ones((*shape, 1)), np.ones((0, *shape[1:]))]
        return [*arrays, 1.0, np.float32(1), np.ones(()), "weights", {}, [[1], [1, 2]], [[True]], [["a"]]]


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only view of a column-major copy; NumPy refuses to make the view writable."""
    copy = np.array(array.T, dtype=array.dtype.newbyteorder("="), order="C")
    copy.flags.writeable = False
    return copy.T


class Property(Generic[T]):
    """A validated property: a rule, a default, a docstring, and who may set it.

    Parameters
    ----------
    rule : Rule
        What a value must be.
    doc : str
        One sentence for `help` and the documentation.
    default : object, optional
        The value where none is given; a property without one is required.
    access : {'set', 'create', 'read'}
        Whether it can be set at any time, at creation alone, or never, because it follows from others.
    """

    REQUIRED = object()

    def __init__(
        self, rule: Rule[T], doc: str, default: Any = REQUIRED, access: Literal["set", "create", "read"] = "set"
    ) -> None:
        self.rule, self.default, self.access = rule, default, access
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: "Declared", owner: type) -> T: ...
    def __get__(self, instance: "Declared | None", owner: type) -> Self | T:
        if instance is None:
            return self
        value: T = instance._values[self.name]
        return value

    def __set__(self, instance: "Declared", value: Any) -> None:
        if self.access != "set":
            raise AttributeError(f"{self.name} is read-only")
        instance._assign({self.name: as_valid(self.name, self.rule, value)})


class Declared:
    """An object whose state is its properties: checked one by one, then together, then kept all at once."""

    __slots__ = ("_values",)
    _values: dict[str, Any]

    def _assign(self, changes: dict[str, Any]) -> None:
        """Keep valid values: all of them, or none if they do not fit together. `_values` is a new object then."""
        self._values = self._resolve({**self._values, **changes})

    def _resolve(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return values with what follows from them, or raise if they do not fit together."""
        raise NotImplementedError

    def __setattr__(self, name: str, value: Any) -> None:
        if not hasattr(type(self), name):
            raise AttributeError(self._unknown(name))
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(self._unknown(name))

    def _unknown(self, name: str) -> str:
        public = (known for known in dir(type(self)) if not known.startswith("_"))
        return f"{type(self).__name__} has no property or method {name!r}{suggestion(name, public)}"


def declarations(cls: type[Declared]) -> dict[str, Property[Any]]:
    """Return the properties of a class in the order of their declaration."""
    items = (item for base in reversed(cls.__mro__) for item in vars(base).items())
    return {name: item for name, item in items if isinstance(item, Property)}


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: the nearest of the names that are known."""
    names = {other.lower(): other for other in known}
    nearest = get_close_matches(name.lower(), names, n=1, cutoff=0)
    return f"; did you mean {names[nearest[0]]!r}?" if nearest else ""


def match_options(options: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Return options under their names in `known`, matched without regard to case."""
    names = {name.lower(): name for name in known}
    matched: dict[str, Any] = {}
    for option, value in options.items():
        name = names.get(option.lower())
        if name is None:
            raise TypeError(f"unknown option {option!r}{suggestion(option, names.values())}")
        if name in matched:
            raise TypeError(f"option {name!r} is given twice")
        matched[name] = value
    return matched
