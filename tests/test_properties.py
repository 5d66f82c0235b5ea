"""Every property of the layer, generated from the declarations: default, good values, bad values, access, docstring.

What the documentation says of them is written out once more, in `TABLE`: the declarations are checked against it.
"""

import copy
import pydoc
import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from numba_tconv import TransposedConvolution1DLayer, properties, transposedConv1dLayer
from numba_tconv._properties import Crop, Declared, Integer, Property, declarations

EMPTY = np.empty((0, 0))

# The documentation's order: name, default, may be given at creation, may be set later.
TABLE = [
    ("FilterSize", 11, True, True),
    ("NumFilters", 96, True, False),
    ("Stride", 1, True, True),
    ("CroppingMode", "manual", False, False),
    ("CroppingSize", (0, 0), False, False),
    ("NumChannels", "auto", True, False),
    ("WeightsInitializer", "glorot", True, True),
    ("BiasInitializer", "zeros", True, True),
    ("Weights", EMPTY, True, True),
    ("Bias", EMPTY, True, True),
    ("WeightLearnRateFactor", 1, True, True),
    ("BiasLearnRateFactor", 1, True, True),
    ("WeightL2Factor", 1, True, True),
    ("BiasL2Factor", 0, True, True),
    ("Name", "", True, True),
    ("NumInputs", 1, False, False),
    ("InputNames", ("in",), False, False),
    ("NumOutputs", 1, False, False),
    ("OutputNames", ("out",), False, False),
]
DECLARED = declarations(TransposedConvolution1DLayer)
POSITIONAL = {"FilterSize": 11, "NumFilters": 96}
OPTIONS = [name for name, _, option, _ in TABLE if option]
SETTABLE = [name for name, _, _, settable in TABLE if settable]
READ_ONLY = [name for name, _, _, settable in TABLE if not settable]
NUMERIC_CLASSES = ["float32", "float64", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))]


def cases(names, kind):
    """Return a parameter for each property and each value that its rule gives."""
    return [
        pytest.param(name, *(case if kind == "good" else (case,)), id=f"{name}-{number}")
        for name in names
        for number, case in enumerate(getattr(DECLARED[name].rule, kind)())
    ]


def create(**options):
    sizes = {name: options.pop(name, default) for name, default in POSITIONAL.items()}
    return transposedConv1dLayer(*sizes.values(), **options)


def assert_kept(value, kept):
    assert type(value) is type(kept)
    assert_array_equal(value, kept, strict=True)


def test_names_in_the_documentations_order():
    names = [name for name, *_ in TABLE]
    assert list(DECLARED) == names
    assert create().properties() == properties(create()) == names


@pytest.mark.parametrize(("name", "default"), [row[:2] for row in TABLE])
def test_default(name, default):
    assert_array_equal(getattr(create(), name), default)


@pytest.mark.parametrize("name", DECLARED)
def test_docstring(name):
    doc = DECLARED[name].__doc__
    assert re.fullmatch(r"[A-Z].{10,}\.", doc)
    assert doc in pydoc.plain(pydoc.render_doc(TransposedConvolution1DLayer))
    assert sum(other.__doc__ == doc for other in DECLARED.values()) == 1


@pytest.mark.parametrize("name", SETTABLE)
def test_rules_give_values_to_test_with(name):
    good, bad = list(DECLARED[name].rule.good()), list(DECLARED[name].rule.bad())
    assert len(good) > 3
    assert len(bad) > 3


@pytest.mark.parametrize(("name", "value", "kept"), cases(OPTIONS, "good"))
def test_good_value_at_creation(name, value, kept):
    assert_kept(getattr(create(**{name: value}), name), kept)


@pytest.mark.parametrize(("name", "value", "kept"), cases(SETTABLE, "good"))
def test_good_value_later(name, value, kept):
    layer = create()
    setattr(layer, name, value)
    assert_kept(getattr(layer, name), kept)
    assert layer == create(**{name: value})


def refused(name):
    return pytest.raises((TypeError, ValueError), match=rf"^{name} must be .+; got ")


@pytest.mark.parametrize(("name", "value"), cases(OPTIONS, "bad"))
def test_bad_value_at_creation(name, value):
    with refused(name):
        create(**{name: value})


@pytest.mark.parametrize(("name", "value"), cases(SETTABLE, "bad"))
def test_bad_value_later(name, value):
    layer = create(Stride=3, Bias=np.ones(96))
    before = copy.deepcopy(layer)
    with refused(name):
        setattr(layer, name, value)
    assert layer == before


@pytest.mark.parametrize("name", READ_ONLY)
def test_read_only(name):
    layer = create()
    for value in (getattr(layer, name), 3, "same", None):
        with pytest.raises(AttributeError, match=f"^{name} is read-only$"):
            setattr(layer, name, value)
    assert layer == create()


@pytest.mark.parametrize("name", [name for name, _, option, _ in TABLE if not option])
def test_what_follows_from_others_is_no_option(name):
    with pytest.raises(TypeError, match=f"^unknown option '{name}'"):
        create(**{name: getattr(create(), name)})


@pytest.mark.parametrize("numeric_class", NUMERIC_CLASSES)
def test_every_numeric_class_of_the_documentation(numeric_class):
    of = np.dtype(numeric_class).type
    layer = transposedConv1dLayer(
        of(11),
        of(96),
        Stride=of(4),
        Cropping=of(3),
        NumChannels=of(64),
        WeightLearnRateFactor=of(2),
        BiasLearnRateFactor=of(3),
        WeightL2Factor=of(4),
        BiasL2Factor=of(5),
    )
    assert layer == transposedConv1dLayer(
        11,
        96,
        Stride=4,
        Cropping=3,
        NumChannels=64,
        WeightLearnRateFactor=2,
        BiasLearnRateFactor=3,
        WeightL2Factor=4,
        BiasL2Factor=5,
    )
    assert {type(getattr(layer, name)) for name in ("FilterSize", "NumFilters", "Stride", "NumChannels")} == {int}
    layer.Stride = of(5)
    layer.FilterSize = of(7)
    assert (layer.Stride, layer.FilterSize, layer.CroppingSize) == (5, 7, (3, 3))


@pytest.mark.parametrize(("value", "kept"), Crop().good())
def test_good_cropping(value, kept):
    layer = create(Cropping=value)
    if kept == "same":
        assert (layer.CroppingMode, layer.CroppingSize) == ("same", (5, 5))
    else:
        assert_kept(layer.CroppingSize, kept)
        assert layer.CroppingMode == "manual"


@pytest.mark.parametrize("value", Crop().bad(), ids=repr)
def test_bad_cropping(value):
    with refused("Cropping"):
        create(Cropping=value)


MESSAGES = {
    ("Stride", -1): "Stride must be a positive integer; got -1",
    ("Stride", 1.5): "Stride must be a positive integer; got 1.5",
    ("Stride", "4"): "Stride must be a positive integer; got '4'",
    ("Stride", 1 << 62): f"Stride must be below 2**62; got {1 << 62}",
    ("FilterSize", True): "FilterSize must be a positive integer; got True",
    ("NumChannels", 0): "NumChannels must be 'auto' or a positive integer; got 0",
    ("Cropping", -1): (
        "Cropping must be a non-negative integer, two non-negative integers (left, right) or 'same'; got -1"
    ),
    ("BiasL2Factor", -0.5): "BiasL2Factor must be a finite non-negative number; got -0.5",
    ("Name", 7): "Name must be a text; got 7",
    (
        "BiasInitializer",
        "he",
    ): "BiasInitializer must be 'zeros', 'narrow-normal', 'ones' or a function of the size; got 'he'",
    ("WeightsInitializer", "xavier"): (
        "WeightsInitializer must be 'glorot', 'he', 'narrow-normal', 'zeros', 'ones', 'icnr' "
        "or a function of the size; got 'xavier'"
    ),
    ("Bias", 1.0): "Bias must be a real float32 or float64 array, 1 x NumFilters or NumFilters; got 1.0",
}


@pytest.mark.parametrize(("name", "value"), MESSAGES)
def test_message_names_the_argument_the_rule_and_the_value(name, value):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(MESSAGES[name, value])}$"):
        create(**{name: value})


def test_message_does_not_print_an_array():
    with pytest.raises(TypeError, match=r"^Weights must be .+; got \(11, 96, 64\) int32$"):
        create(Weights=np.ones((11, 96, 64), np.int32))


# -- names ---------------------------------------------------------------------------------------------------------


def test_option_names_are_matched_without_regard_to_case():
    layer = create(sTRIDE=4, cropping="Same", WEIGHTSINITIALIZER="HE", name="up")
    assert layer == create(Stride=4, Cropping="same", WeightsInitializer="he", Name="up")


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("Strid", "Stride"), ("croping", "Cropping"), ("padding", "Cropping"), ("Weight", "Weights"), ("lable", "Name")],
)
def test_unknown_option_suggests_the_nearest(wrong, nearest):
    with pytest.raises(TypeError, match=f"^unknown option '{wrong}'; did you mean '{nearest}'\\?$"):
        create(**{wrong: 2})


@pytest.mark.parametrize("option", ["stride", "Stride", "filtersize", "FilterSize"])
def test_option_that_is_given_twice(option):
    name = {"stride": "Stride", "filtersize": "FilterSize"}[option.lower()]
    with pytest.raises(TypeError, match=f"^option '{name}' is given twice$"):
        transposedConv1dLayer(11, 96, **{"Stride": 2} | {option.swapcase(): 3, option: 2})


@pytest.mark.parametrize(
    ("wrong", "nearest"), [("Strid", "Stride"), ("stride", "Stride"), ("weights", "Weights"), ("predit", "predict")]
)
def test_unknown_attribute_suggests_the_nearest(wrong, nearest):
    layer = create()
    message = f"^TransposedConvolution1DLayer has no property or method '{wrong}'; did you mean '{nearest}'\\?$"
    with pytest.raises(AttributeError, match=message):
        setattr(layer, wrong, 2)
    with pytest.raises(AttributeError, match=message):
        getattr(layer, wrong)
    assert layer == create()


@pytest.mark.parametrize("name", ["predict", "properties", "__class__", "__doc__", "Cropping"])
def test_nothing_but_properties_can_be_set(name):
    with pytest.raises((AttributeError, TypeError)):
        setattr(create(), name, None)


def test_properties_cannot_be_deleted():
    layer = create()
    with pytest.raises(AttributeError):
        del layer.Stride
    assert layer.Stride == 1


def test_sizes_are_required():
    with pytest.raises(TypeError, match="numFilters"):
        transposedConv1dLayer(11)


# -- the descriptor ------------------------------------------------------------------------------------------------


class Even(Declared):
    """Two numbers whose sum must be even."""

    __slots__ = ()
    First = Property(Integer(0), "One of them.", 0)
    Second = Property(Integer(0), "The other.", 0)

    def __init__(self):
        self._values = {"First": 0, "Second": 0}

    def _resolve(self, values):
        if sum(values.values()) % 2:
            raise ValueError("the sum must be even")
        return values


def test_values_are_kept_together_or_not_at_all():
    pair = Even()
    pair._assign({"First": 1, "Second": 3})
    before = pair._values
    with pytest.raises(ValueError, match="even"):
        pair.First = 2
    assert pair._values is before
    assert (pair.First, pair.Second) == (1, 3)
    pair.First = 5
    assert pair._values is not before


def test_a_subclass_inherits_and_adds():
    class Triple(Even):
        """One more."""

        __slots__ = ()
        Third = Property(Integer(0), "The third.", 0)

    assert list(declarations(Triple)) == ["First", "Second", "Third"]
