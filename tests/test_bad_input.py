"""Bad input: an error that names the argument, the rule and what was given, and an `out` that is as it was."""

import re

import numpy as np
import pytest
import scipy.sparse

from numba_tconv import ConvTranspose1d, conv_transpose1d

SENTINEL = 77.0


def exactly(text):
    return f"^{re.escape(text)}$"


def starting(text):
    return f"^{re.escape(text)}"


def good():
    """Arguments that are good together, in float32; stride 2 and 7 samples make 16, less two."""
    return {
        "x": np.ones((2, 4, 7), np.float32),
        "weight": np.ones((4, 3, 4), np.float32),
        "bias": np.ones(6, np.float32),
        "stride": 2,
        "padding": 1,
        "output_padding": 0,
        "groups": 2,
        "dilation": 1,
        "device": "auto",
        "out": np.full((2, 6, 14), SENTINEL, np.float32),
    }


def call_function(x, weight, bias, **options):
    return conv_transpose1d(x, weight, bias, **options)


def call_plan(x, weight, bias, *, out, **options):
    return ConvTranspose1d(weight, bias, **options)(x, out=out)


CALLS = pytest.mark.parametrize("call", [call_function, call_plan])


@CALLS
def test_the_good_arguments_are_good(call):
    arguments = good()
    assert call(**arguments) is arguments["out"]
    assert not np.any(arguments["out"] == SENTINEL)


def integer_cases(name, low):
    rule = ("a non-negative int", "a positive int")[low]
    for value in (None, "2", 2.0, 1.5, np.float64(2), 2j, [2], (2,), {}, np.array([2]), b"2", True, np.True_):
        yield name, value, TypeError, exactly(f"{name} must be {rule}; got {value!r}")
    for value in (low - 1, -5, np.int8(-1), -(10**30)):
        yield name, value, ValueError, exactly(f"{name} must be {rule}; got {value!r}")


def padding_cases():
    rule = "padding must be a non-negative int, (left, right) or 'same'"
    for value in (
        None,
        1.0,
        True,
        b"same",
        {1: 2},
        np.float32(1),
        (1.0, 1),
        (1, None),
        (True, 1),
        [1, "2"],
        (1, (2, 3)),
    ):
        yield "padding", value, TypeError, exactly(f"{rule}; got {value!r}")
    for value in (-1, "SAME", "valid", "", (), (1,), (1, 2, 3), [], (-1, 1), (1, -1), [0, -1]):
        yield "padding", value, ValueError, exactly(f"{rule}; got {value!r}")
    for value, pair in ((8, (8, 8)), ((16, 0), (16, 0)), ([0, 16], (0, 16)), (10**30, (10**30, 10**30))):
        message = f"padding must leave at least one output sample; got {pair} for a full length of 16"
        yield "padding", value, ValueError, exactly(message)


def array_cases(name):
    rule = f"{name} must be an array of bool, integer, float16/32/64 or complex64/128; got "
    masked = np.ma.masked_array(good()[name], mask=False)
    yield name, masked, TypeError, exactly(f"{rule}a masked array")
    shape = good()[name].shape
    for dtype in ("longdouble", "clongdouble", "datetime64[s]", "timedelta64[s]", "U3", "S3"):
        value = np.zeros(shape, dtype)
        yield name, value, TypeError, exactly(f"{rule}{value.dtype}")
    yield name, np.zeros(shape, [("real", "f4")]), TypeError, starting(rule)
    yield name, np.zeros(shape, object), TypeError, starting(rule)
    for value in ("text", b"text", {}, {1, 2}, object(), scipy.sparse.csr_array(np.eye(2)), [[1, None]], len):
        yield name, value, TypeError, starting(rule)
    yield name, [[1, 2], [3]], TypeError, starting(f"{rule}list")
    yield name, [[[1, 2]], [[3], [4]]], TypeError, starting(f"{rule}list")


def shape_cases():
    layout = "(batch, in_channels, length) or (in_channels, length)"
    for shape in ((), (7,), (1, 2, 4, 7), (0,)):
        yield "x", np.ones(shape, np.float32), ValueError, exactly(f"x must have the shape {layout}; got {shape}")
    for shape in ((2, 3, 7), (5, 7), (2, 0, 7), (7, 4)):
        message = f"weight has 4 input channels, x has {shape[-2]} (shape {shape})"
        yield "x", np.ones(shape, np.float32), ValueError, exactly(message)
    for shape in ((2, 4, 0), (4, 0)):
        message = f"x must have at least one sample; got the shape {shape}"
        yield "x", np.ones(shape, np.float32), ValueError, exactly(message)
    yield "x", 1.0, ValueError, exactly(f"x must have the shape {layout}; got ()")
    yield "x", None, TypeError, starting("x must be an array")

    layout = "(in_channels, out_channels // groups, filter_size), no size 0"
    for shape in ((), (4,), (4, 3), (1, 4, 3, 4), (0, 3, 4), (4, 0, 4), (4, 3, 0)):
        message = f"weight must have the shape {layout}; got {shape}"
        yield "weight", np.ones(shape, np.float32), ValueError, exactly(message)
    message = "weight has 6 input channels, x has 4 (shape (2, 4, 7))"
    yield "weight", np.ones((6, 3, 4), np.float32), ValueError, exactly(message)
    yield "weight", None, TypeError, starting("weight must be an array")

    for shape in ((), (5,), (7,), (3,), (0,), (1, 6), (6, 1)):
        message = f"bias must have the shape (out_channels,) = (6,); got {shape}"
        yield "bias", np.ones(shape, np.float32), ValueError, exactly(message)
    for dtype in ("complex64", "complex128"):
        message = f"bias must be real where x and weight are; got {dtype}"
        yield "bias", np.ones(6, dtype), TypeError, exactly(message)


def device_cases():
    for value in ("gpu", "CPU", "", None, 0, True, b"cpu", ["cpu"], ("cuda",), np.array(["cpu", "cuda"])):
        yield (
            "device",
            value,
            (TypeError, ValueError),
            exactly(f"device must be 'auto', 'cpu' or 'cuda'; got {value!r}"),
        )
    yield "device", "cuda", RuntimeError, starting("device 'cuda' is not available")


def out_cases():
    for value in (1.0, "out", [[1.0]], np.float32(1), memoryview(b"")):
        yield "out", value, TypeError, exactly(f"out must be an ndarray; got {type(value).__name__}")
    masked = np.ma.masked_array(good()["out"], mask=False)
    yield "out", masked, TypeError, starting("out must be an ndarray; got MaskedArray")
    for dtype in ("float64", "float16", "complex64", "int32", "bool", "object", ">f4"):
        value = np.full((2, 6, 14), SENTINEL).astype(dtype)
        yield "out", value, TypeError, exactly(f"out must have the dtype float32; got {value.dtype}")
    for shape in ((2, 6, 13), (2, 6, 15), (2, 5, 14), (1, 6, 14), (6, 14), (2, 6, 14, 1), (), (0, 6, 14)):
        value = np.full(shape, SENTINEL, np.float32)
        yield "out", value, ValueError, exactly(f"out must have the shape (2, 6, 14); got {shape}")
    read_only = good()["out"]
    read_only.flags.writeable = False
    yield "out", read_only, ValueError, starting("out must be writeable and aligned")
    unaligned = np.zeros(4 * 2 * 6 * 14 + 1, np.uint8)[1:].view(np.float32).reshape(2, 6, 14)
    unaligned[...] = SENTINEL
    yield "out", unaligned, ValueError, starting("out must be writeable and aligned")
    for steps in ((0, 14, 1), (84, 0, 1), (84, 14, 0), (1, 14, 1), (84, 1, 1), (84, 13, 1), (14, 14, 1)):
        base = np.full(2 * 6 * 14, SENTINEL, np.float32)
        value = np.lib.stride_tricks.as_strided(base, (2, 6, 14), [4 * step for step in steps])
        yield "out", value, ValueError, starting("out must not")


def mixed_cases():
    """Yield options that are good one by one and bad together."""
    message = "groups must divide the 4 input channels of weight; got 3"
    yield {"groups": 3}, ValueError, exactly(message)
    message = "output_padding must be smaller than stride or dilation; got 2 with stride 2 and dilation 1"
    yield {"output_padding": 2}, ValueError, exactly(message)
    message = "output_padding must be smaller than stride or dilation; got 3 with stride 1 and dilation 3"
    yield {"output_padding": 3, "stride": 1, "dilation": 3}, ValueError, exactly(message)
    message = "output_padding must be 0 with padding 'same'; got 1"
    yield {"output_padding": 1, "padding": "same"}, ValueError, exactly(message)
    message = "bias must have the shape (out_channels,) = (3,); got (6,)"
    yield {"groups": 1}, ValueError, exactly(message)
    message = "out must have the shape (2, 6, 15); got (2, 6, 14)"
    yield {"output_padding": 1}, ValueError, exactly(message)
    yield {"x": np.ones((2, 4, 7))}, TypeError, exactly("out must have the dtype float64; got float32")
    yield (
        {"weight": np.ones((4, 3, 4), np.complex64)},
        TypeError,
        exactly("out must have the dtype complex64; got float32"),
    )


BAD = [
    *integer_cases("stride", 1),
    *integer_cases("dilation", 1),
    *integer_cases("groups", 1),
    *integer_cases("output_padding", 0),
    *padding_cases(),
    *array_cases("x"),
    *array_cases("weight"),
    *array_cases("bias"),
    *shape_cases(),
    *device_cases(),
    *out_cases(),
]


def case_id(value):
    """Return a name that is the same in every process, as tests that are shared out must have."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}"
    return None if callable(value) or isinstance(value, type) else re.sub(" at 0x[0-9a-f]+", "", str(value))[:30]


def check_refused(call, changed, error, message):
    arguments = good() | changed
    out = arguments["out"]
    with pytest.raises(error, match=message):
        call(**arguments)
    if isinstance(out, np.ndarray) and out.dtype != object:
        assert np.all(np.asarray(out) == np.asarray(SENTINEL).astype(out.dtype)), "out was written to"


@CALLS
@pytest.mark.parametrize(("name", "value", "error", "message"), BAD, ids=case_id)
def test_refused(call, name, value, error, message):
    check_refused(call, {name: value}, error, message)


@CALLS
@pytest.mark.parametrize(("changed", "error", "message"), [*mixed_cases()], ids=case_id)
def test_refused_together(call, changed, error, message):
    check_refused(call, changed, error, message)


@CALLS
@pytest.mark.parametrize("name", ["stride", "dilation", "output_padding"])
@pytest.mark.parametrize("value", [10**30, 1 << 63])
@pytest.mark.parametrize(
    "changed",
    [{}, {"x": np.ones((4, 1)), "weight": np.ones((4, 3, 1)), "padding": 0}],
    ids=["several samples", "one sample"],
)
def test_huge_integers_are_refused(call, name, value, changed):
    """Beyond what an index can hold, and without an `out` whose shape would be refused before."""
    check_refused(call, {"out": None, **changed, name: value}, ValueError, starting(name))


def test_every_argument_is_in_the_table():
    assert {name for name, *_ in BAD} == set(good())


@CALLS
@pytest.mark.parametrize("name", ["x", "weight"])
def test_missing_arguments(call, name):
    arguments = good()
    del arguments[name]
    with pytest.raises(TypeError, match=name):
        call(**arguments)


def test_options_are_keyword_only():
    with pytest.raises(TypeError, match="positional"):
        conv_transpose1d(np.ones((4, 7)), np.ones((4, 3, 4)), None, 2)
    with pytest.raises(TypeError, match="positional"):
        ConvTranspose1d(np.ones((4, 3, 4)), None, 2)


@CALLS
@pytest.mark.parametrize(
    "changed",
    [
        {"stride": np.int16(2)},
        {"stride": np.array(2)},
        {"padding": np.uint8(1)},
        {"padding": [1, np.int64(1)]},
        {"padding": (1, 1)},
        {"device": "cpu"},
        {"bias": [1, 1, 1, 1, 1, 1]},
        {"bias": None},
        {"x": np.ones((2, 4, 7), np.int8)},
        {"weight": np.ones((4, 3, 4), bool)},
        {"weight": memoryview(np.ones((4, 3, 4), np.float32))},
        {"x": np.ones((2, 4, 7), np.float32).view(np.recarray)},
    ],
    ids=case_id,
)
def test_unusual_but_good(call, changed):
    arguments = good() | changed
    assert call(**arguments) is arguments["out"]
    assert not np.any(arguments["out"] == SENTINEL)


# -- overlap -------------------------------------------------------------------------------------------------------


def overlapping(name):
    """Yield good arguments whose out shares memory with the argument `name`, in several ways."""
    for shift in (-1, 0, 1, 10):
        arguments = good()
        out_size, size = arguments["out"].size, arguments[name].size
        memory = np.full(2 * out_size + size, SENTINEL, np.float32)
        start = out_size + shift - (size if shift == -1 else 0) + 2 * (shift == -1)
        arguments["out"] = memory[out_size : 2 * out_size].reshape(2, 6, 14)
        arguments[name] = memory[start : start + size].reshape(arguments[name].shape)
        assert np.shares_memory(arguments["out"], arguments[name])
        yield arguments


@CALLS
@pytest.mark.parametrize("name", ["x", "weight", "bias"])
def test_overlap_is_refused_or_harmless(call, name):
    """A plan has copied its weights, so there only x can be harmed."""
    for arguments in overlapping(name):
        out = arguments["out"]
        if call is call_plan and name != "x":
            expected = conv_transpose1d(**{**arguments, "out": None})
            np.testing.assert_array_equal(call(**arguments), expected)
        else:
            with pytest.raises(ValueError, match="out must not overlap x, weight or bias"):
                call(**arguments)
            assert np.all(out == SENTINEL)


@CALLS
def test_in_place_is_refused(call):
    x = np.full((4, 7), SENTINEL, np.float32)
    weight = np.ones((4, 4, 1), np.float32)
    for out in (x, x[::-1], x[:, ::-1]):
        with pytest.raises(ValueError, match="out must not overlap"):
            call(x, weight, None, out=out)
    assert np.all(x == SENTINEL)


@CALLS
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_interleaved_arrays_that_do_not_overlap(call, dtype):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((2, 2, 9)).astype(dtype)
    weight = rng.standard_normal((2, 2, 1)).astype(np.float32)
    expected = call(values, weight, None, out=None)
    for places in ((0, 1), (1, 0)):
        for axis in (1, 2):
            shape = [2, 2, 9]
            shape[axis] *= 2
            memory = np.zeros(shape, dtype)
            x, out = (np.moveaxis(np.moveaxis(memory, axis, 0)[place::2], 0, axis) for place in places)
            assert np.may_share_memory(x, out)
            x[...] = values
            np.testing.assert_array_equal(call(x, weight, None, out=out), expected)
            np.testing.assert_array_equal(x, values)


@CALLS
def test_overlap_with_what_is_copied_first(call):
    """A byte-swapped x is copied before anything is written, and the overlap does no harm."""
    weight = np.ones((4, 4, 1), np.float32)
    out = np.zeros((4, 7), np.float32)
    x = out.view(out.dtype.newbyteorder())
    x[...] = np.arange(28).reshape(4, 7)
    expected = conv_transpose1d(x.copy(), weight)
    np.testing.assert_array_equal(call(x, weight, None, out=out), expected)


@CALLS
def test_overlap_that_is_too_hard_to_tell_is_refused(call):
    """Whether strides of large primes ever meet is NumPy's own example of what takes too long to find out."""
    shape, memory = (1049, 1049, 1049), np.zeros(192_163_380, np.int8)
    x = np.lib.stride_tricks.as_strided(memory, shape, (36674, 61119, 85569))
    out = np.lib.stride_tricks.as_strided(memory[1000:].view(np.float32), (1049, 1, 1049), (73352, 4, 36))
    with pytest.raises(np.exceptions.TooHardError):
        np.shares_memory(x, out, max_work=10_000)
    with pytest.raises(ValueError, match="out must not overlap"):
        call(x, np.ones((1049, 1, 1), np.float32), None, out=out)


# -- a plan's own --------------------------------------------------------------------------------------------------


def test_a_plan_survives_bad_calls():
    arguments = good()
    x, out = arguments.pop("x"), arguments.pop("out")
    plan = ConvTranspose1d(**arguments)
    expected = plan(x)
    for bad in (None, np.ones((2, 3, 7)), np.ones(7), "text"):
        with pytest.raises((TypeError, ValueError), match="x"):
            plan(bad)
        with pytest.raises((TypeError, ValueError), match="x"):
            plan(bad, out=out)
    with pytest.raises(ValueError, match="out must have the shape"):
        plan(x[:1], out=out)
    assert np.all(out == SENTINEL)
    np.testing.assert_array_equal(plan(x, out=out), expected)


def test_a_plan_refuses_lengths_that_leave_nothing():
    plan = ConvTranspose1d(np.ones((1, 1, 3), np.float32), padding=(2, 2))
    assert plan(np.ones((1, 3), np.float32)).shape == (1, 1)
    with pytest.raises(ValueError, match=r"padding must leave at least one output sample; got \(2, 2\)"):
        plan(np.ones((1, 2), np.float32))


def test_errors_do_not_chain_internals():
    """The message is the whole story: no traceback of what was tried."""
    for changed in ({"stride": "2"}, {"padding": (1.5, 1)}, {"x": [[1, 2], [3]]}):
        with pytest.raises((TypeError, ValueError)) as raised:
            call_function(**good() | changed)
        assert raised.value.__suppress_context__ or raised.value.__context__ is None
