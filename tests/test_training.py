"""Training: options, the loop, what it records, how it stops. Data are small; a run takes milliseconds."""

import copy
import signal
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from numba_tconv import DivergedError, progress, sgdmupdate, trainingOptions, trainnet, transposedConv1dLayer
from numba_tconv._properties import declarations
from numba_tconv.options import SOLVERS


def quiet(solver="sgdm", **options):
    return trainingOptions(solver, **{"Verbose": False, "Seed": 0, "L2Regularization": 0, **options})


def problem(observations=12, dtype=np.float64):
    """Return what a layer of two taps and stride 2 can learn without error: inputs and targets, CBT."""
    X = np.random.default_rng(1).standard_normal((1, observations, 20)).astype(dtype)
    T = np.stack([X, -2 * X], axis=-1).reshape(1, observations, 40) + dtype(0.5)
    return X, T


def student(**options):
    return transposedConv1dLayer(2, 1, Stride=2, **options)


def fixed(**options):
    """Return a layer of which only data and options can make another one."""
    return student(Weights=[[0.25], [0.5]], Bias=[0.0], **options)


def mean_square(Y, T):
    """Be 'mse', as a function of the caller's own."""
    return np.mean((Y - T) ** 2), 2 * (Y - T) / Y.size


# -- options -------------------------------------------------------------------------------------------------------

DEFAULTS = {
    "LearnRateSchedule": "none",
    "LearnRateDropFactor": 0.1,
    "LearnRateDropPeriod": 10,
    "L2Regularization": 1e-4,
    "GradientThreshold": float("inf"),
    "MaxEpochs": 30,
    "MiniBatchSize": 128,
    "Shuffle": "once",
    "ValidationData": None,
    "ValidationFrequency": 50,
    "Verbose": True,
    "Plots": "none",
    "InputDataFormats": "CBT",
    "Seed": None,
}
OWN = {
    "sgdm": {"InitialLearnRate": 0.01, "Momentum": 0.9},
    "adam": {
        "InitialLearnRate": 0.001,
        "GradientDecayFactor": 0.9,
        "SquaredGradientDecayFactor": 0.999,
        "Epsilon": 1e-8,
    },
    "rmsprop": {"InitialLearnRate": 0.001, "SquaredGradientDecayFactor": 0.9, "Epsilon": 1e-8},
}
PROPERTIES = [
    pytest.param(solver, name, item.rule, id=f"{solver}-{name}")
    for solver, options_class in SOLVERS.items()
    for name, item in declarations(options_class).items()
]


@pytest.mark.parametrize("solver", OWN)
def test_defaults_are_matlabs(solver):
    options = trainingOptions(solver)
    expected = DEFAULTS | OWN[solver]
    assert {name: getattr(options, name) for name in declarations(type(options))} == expected


@pytest.mark.parametrize(("solver", "name", "rule"), PROPERTIES)
def test_rules_of_options(solver, name, rule):
    for value, kept in rule.good():
        assert getattr(trainingOptions(solver, **{name.upper(): value}), name) == kept
    options = trainingOptions(solver)
    for value in rule.bad():
        with pytest.raises((TypeError, ValueError), match=rf"^{name} must be .+; got "):
            trainingOptions(solver, **{name: value})
        with pytest.raises((TypeError, ValueError), match=rf"^{name} must be .+; got "):
            setattr(options, name, value)
    assert len(list(rule.good())) > 2
    assert len(list(rule.bad())) > 2


@pytest.mark.parametrize(
    ("solver", "options", "message"),
    [
        ("sgd", {}, "^solverName must be 'sgdm' or 'adam' or 'rmsprop'; got 'sgd'$"),
        ("sgdm", {"Epsilon": 1}, "^Epsilon is an option of 'adam' and 'rmsprop', not of 'sgdm'$"),
        ("adam", {"momentum": 0.5}, "^Momentum is an option of 'sgdm', not of 'adam'$"),
        ("adam", {"MaxEpoch": 5}, "^unknown option 'MaxEpoch'; did you mean 'MaxEpochs'"),
    ],
)
def test_bad_options(solver, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        trainingOptions(solver, **options)


def test_display():
    validation = np.ones((1, 2, 3), np.float32), np.ones((1, 2, 6))
    assert repr(trainingOptions("SGDM", MaxEpochs=5, ValidationData=validation, Seed=3)) == (
        "  TrainingOptionsSGDM with properties:\n"
        "\n"
        "               Momentum: 0.9000\n"
        "       InitialLearnRate: 0.0100\n"
        "      LearnRateSchedule: 'none'\n"
        "    LearnRateDropFactor: 0.1000\n"
        "    LearnRateDropPeriod: 10\n"
        "       L2Regularization: 1.0000e-04\n"
        "      GradientThreshold: Inf\n"
        "              MaxEpochs: 5\n"
        "          MiniBatchSize: 128\n"
        "                Shuffle: 'once'\n"
        "         ValidationData: {[1×2×3 float32]  [1×2×6 float64]}\n"
        "    ValidationFrequency: 50\n"
        "                Verbose: 1\n"
        "                  Plots: 'none'\n"
        "       InputDataFormats: 'CBT'\n"
        "                   Seed: 3"
    )


# -- it learns -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("solver", "rate"), [("sgdm", 0.1), ("adam", 0.1), ("rmsprop", 0.01)])
def test_every_solver_finds_the_weights(solver, rate):
    X, T = problem()
    options = quiet(
        solver, InitialLearnRate=rate, MaxEpochs=400, LearnRateSchedule="piecewise", LearnRateDropPeriod=300
    )
    layer, info = trainnet(X, T, student(), "mse", options)
    assert_allclose(layer.Weights.ravel(), [1, -2], atol=2e-3)
    assert_allclose(layer.Bias.ravel(), [0.5], atol=2e-3)
    assert info.TrainingLoss[-1] < 1e-5 * info.TrainingLoss[0]
    assert info.StopReason == "Max epochs completed"


def test_a_stack_of_two_learns_what_another_one_does():
    """From a random start to a ten-thousandth of the targets' mean square; seeds 0 to 4 end at 2e-8 to 5e-5 of it."""
    teacher = [
        transposedConv1dLayer(4, 4, Stride=2, Cropping="same").initialize(2, rng=1),
        transposedConv1dLayer(6, 1, Stride=3, Cropping=(1, 2)).initialize(4, rng=2),
    ]
    X = np.random.default_rng(3).standard_normal((2, 16, 30)).astype(np.float32)
    T = teacher[1].predict(teacher[0].predict(X, "CBT"), "CBT")
    fresh = [
        transposedConv1dLayer(4, 4, Stride=2, Cropping="same"),
        transposedConv1dLayer(6, 1, Stride=3, Cropping=(1, 2)),
    ]
    options = quiet(
        "adam", InitialLearnRate=0.05, MaxEpochs=1500, LearnRateSchedule="piecewise", LearnRateDropPeriod=1000
    )
    stack, info = trainnet(X, T, fresh, "mse", options)
    assert isinstance(stack, list)
    assert info.TrainingLoss[-1] < 1e-4 * np.mean(T**2)
    Y = stack[1].predict(stack[0].predict(X, "CBT"), "CBT")
    assert np.mean((Y - T) ** 2) < 1e-4 * np.mean(T**2)


def test_steps_are_those_of_the_update_rules_by_hand():
    """Two iterations of the whole loop, written out: forward, loss, backward, L2, threshold, step."""
    X, T = problem()
    layer = fixed(WeightL2Factor=0.5, WeightLearnRateFactor=2)
    trained, info = trainnet(
        X, T, layer, "mse", quiet(InitialLearnRate=0.1, MaxEpochs=2, L2Regularization=0.1, GradientThreshold=0.7)
    )
    vel, losses = [], []
    for _ in range(2):
        Y = layer.forward(X, "CBT")
        losses.append(np.mean((Y - T) ** 2))
        _, grad = layer.backward(X, 2 * (Y - T) / Y.size, "CBT")
        grad["Weights"] = grad["Weights"] + 0.1 * 0.5 * layer.Weights
        grad = {name: g * min(1, 0.7 / np.linalg.norm(g.ravel())) for name, g in grad.items()}
        layer, vel = sgdmupdate(layer, grad, vel, 0.1, 0.9)
    assert_allclose(info.TrainingLoss, losses, rtol=1e-13)
    assert_allclose(trained.Weights, layer.Weights, rtol=1e-13)
    assert_allclose(trained.Bias, layer.Bias, rtol=1e-13)


def test_equal_seeds_give_equal_bits_and_others_do_not():
    X, T = problem(dtype=np.float32)

    def run(seed):
        options = quiet("adam", MaxEpochs=5, MiniBatchSize=5, Shuffle="every-epoch", Seed=seed)
        stack, info = trainnet(X, T, [student(), transposedConv1dLayer(1, 1)], "mae", options)
        return [layer.Weights.tobytes() + layer.Bias.tobytes() for layer in stack], info.TrainingLoss.tobytes()

    assert run(7) == run(7)
    assert run(7) != run(8)


def test_equal_bits_where_kernels_run_in_parallel():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((24, 4, 700), dtype=np.float32)
    T = rng.standard_normal((32, 4, 1400), dtype=np.float32)
    layer = transposedConv1dLayer(8, 32, Stride=2, Cropping="same").initialize(24, rng=0)
    runs = [trainnet(X, T, layer, "mse", quiet(MaxEpochs=3)) for _ in range(2)]
    assert runs[0][0] == runs[1][0] != layer
    assert_array_equal(runs[0][1].TrainingLoss, runs[1][1].TrainingLoss, strict=True)


def test_the_callers_layers_and_data_stay_as_they_are():
    X, T = problem()
    layers = [fixed(Name="given"), transposedConv1dLayer(1, 1)]
    before = copy.deepcopy((layers, X, T))
    trained, _ = trainnet(X, T, layers, "mse", quiet(MaxEpochs=2))
    assert layers == before[0]
    assert_array_equal(X, before[1])
    assert_array_equal(T, before[2])
    assert trained[0] is not layers[0]
    assert trained[0].Name == "given"
    assert trained[0].Weights.dtype == layers[0].Weights.dtype


@pytest.mark.parametrize(("frozen", "other"), [("Weight", "Bias"), ("Bias", "Weight")])
def test_a_factor_of_0_freezes_a_parameter(frozen, other):
    X, T = problem()
    layer = fixed(**{f"{frozen}LearnRateFactor": 0})
    trained, _ = trainnet(X, T, layer, "mse", quiet("adam", L2Regularization=1))
    names = {"Weight": "Weights", "Bias": "Bias"}
    assert_array_equal(getattr(trained, names[frozen]), getattr(layer, names[frozen]), strict=True)
    assert (getattr(trained, names[other]) != getattr(layer, names[other])).all()


def test_any_format_trains_the_same():
    X, T = problem()
    expected, _ = trainnet(X, T, fixed(), "mse", quiet())
    for labels in ("BCT", "TBC", "TCB"):
        axes = ["CBT".index(label) for label in labels]
        options = quiet(InputDataFormats=labels)
        trained, _ = trainnet(X.transpose(axes), T.transpose(axes), fixed(), "mse", options)
        assert_allclose(trained.Weights, expected.Weights, rtol=1e-12)
    spatial, _ = trainnet(X.T, T.T, fixed(), "mse", quiet(InputDataFormats="SBC"))
    assert_allclose(spatial.Weights, expected.Weights, rtol=1e-12)
    one, _ = trainnet(X[:, 0], T[:, 0], fixed(), "mse", quiet(InputDataFormats="CT"))
    same, _ = trainnet(X[:, :1], T[:, :1], fixed(), "mse", quiet())
    assert_allclose(one.Weights, same.Weights, rtol=1e-12)


def test_complex_signals_train_real_weights():
    X, T = problem()
    X, T = X + 1j * X[:, ::-1], T + 1j * (T[:, ::-1] - 0.5)
    for loss in ("mse", "mae"):
        layer, info = trainnet(X, T, fixed(), loss, quiet("adam", InitialLearnRate=0.05, MaxEpochs=300))
        assert_allclose(layer.Weights.ravel(), [1, -2], atol=0.05)
        assert info.TrainingLoss[-1] < 0.05 * info.TrainingLoss[0]


# -- losses --------------------------------------------------------------------------------------------------------


def test_losses_by_hand():
    """Output (1, 2, 0, 3) for the targets (1, 0, 1, 0): errors 0, 2, -1, 3."""
    layer = transposedConv1dLayer(1, 1, Weights=[[1.0]], Bias=[0.0])
    X, T = np.array([[[1.0, 2.0, 0.0, 3.0]]]), np.array([[[1.0, 0.0, 1.0, 0.0]]])
    options = quiet(InitialLearnRate=1, MaxEpochs=1)
    trained, info = trainnet(X, T, layer, "mse", options)
    assert info.TrainingLoss.tolist() == [14 / 4]
    assert trained.Bias.item() == -2 * 4 / 4
    assert trained.Weights.item() == 1 - 2 * (2 * 2 + 3 * 3) / 4
    trained, info = trainnet(X, T, layer, "MAE", options)
    assert info.TrainingLoss.tolist() == [6 / 4]
    assert trained.Bias.item() == -(1 - 1 + 1) / 4
    assert trained.Weights.item() == 1 - (2 + 3) / 4


def test_a_loss_function_of_ones_own():
    X, T = problem()
    expected, info = trainnet(X, T, fixed(), "mse", quiet())
    trained, own = trainnet(X, T, fixed(), mean_square, quiet())
    assert_allclose(trained.Weights, expected.Weights, rtol=1e-12)
    assert_allclose(own.TrainingLoss, info.TrainingLoss, rtol=1e-12)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("msa", "^lossFcn must be 'mse', 'mae' or a function of the output and the targets; got 'msa'; did you mean"),
        (None, "^lossFcn must be 'mse', 'mae' or a function of the output and the targets; got None$"),
        (lambda Y, T: 1.0, "^lossFcn must return a number and an array, loss and dLdY; got float$"),
        (lambda Y, T: (Y, Y), "^lossFcn must return a number and an array, loss and dLdY; got tuple$"),
        (
            lambda Y, T: (1.0, Y[..., 1:]),
            r"^dLdY of lossFcn must have the shape \(1, 12, 40\) of the output; got \(1, 1",
        ),
        (lambda Y, T: (1.0, 1j * Y), "^dLdY of lossFcn must be real where the output is; got complex128$"),
    ],
)
def test_bad_losses(loss, message):
    with pytest.raises((TypeError, ValueError), match=message):
        trainnet(*problem(), fixed(), loss, quiet())


# -- mini-batches, schedule, threshold -----------------------------------------------------------------------------


def batches(**options):
    """Return the observations of each mini-batch, epoch by epoch, for 7 observations in batches of 2."""
    seen = []

    def loss(Y, T):
        seen.append(tuple(T[0, :, 0].astype(int)))
        return 1.0, np.zeros_like(Y)

    X = np.tile(np.arange(7.0)[:, None], (1, 1, 3))
    _, info = trainnet(X, X, transposedConv1dLayer(1, 1), loss, quiet(MiniBatchSize=2, MaxEpochs=3, **options))
    assert info.Epoch.tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    return [seen[start : start + 3] for start in range(0, 9, 3)]


def test_never_shuffled():
    assert batches(Shuffle="never") == 3 * [[(0, 1), (2, 3), (4, 5)]]


def test_shuffled_once():
    first, *others = batches(Shuffle="once")
    assert others == [first, first]
    assert first != [(0, 1), (2, 3), (4, 5)]
    assert len({n for batch in first for n in batch}) == 6
    assert batches(Shuffle="once", Seed=5)[0] != first


def test_shuffled_every_epoch():
    epochs = batches(Shuffle="every-epoch")
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert {n for epoch in epochs for batch in epoch for n in batch} == set(range(7))
    assert all(len({n for batch in epoch for n in batch}) == 6 for epoch in epochs)


def test_a_mini_batch_larger_than_the_data_is_all_of_them():
    _, info = trainnet(*problem(), fixed(), "mse", quiet(MiniBatchSize=100, MaxEpochs=4))
    assert info.Epoch.tolist() == [1, 2, 3, 4]


def test_schedule():
    options = {"InitialLearnRate": 0.5, "MaxEpochs": 5, "MiniBatchSize": 6, "LearnRateDropPeriod": 2}
    _, info = trainnet(*problem(), fixed(), "mse", quiet(**options, LearnRateDropFactor=0.1))
    assert info.LearnRate.tolist() == [0.5] * 10
    options |= {"LearnRateSchedule": "piecewise", "LearnRateDropFactor": 0.2}
    trained, info = trainnet(*problem(), fixed(), "mse", quiet(**options))
    assert_allclose(info.LearnRate, 4 * [0.5] + 4 * [0.1] + 2 * [0.02], rtol=1e-12)
    still, _ = trainnet(*problem(), fixed(), "mse", quiet(**{**options, "LearnRateDropFactor": 0, "Momentum": 0}))
    dropped, _ = trainnet(*problem(), fixed(), "mse", quiet(**{**options, "MaxEpochs": 2, "Momentum": 0}))
    assert still == dropped != trained  # the rates are used, not only recorded


def test_threshold_scales_the_gradient_of_each_parameter_down():
    def step(**options):
        options = quiet(InitialLearnRate=1, MaxEpochs=1, Momentum=0, **options)
        layer = fixed()
        trained, _ = trainnet(*problem(), layer, "mse", options)
        return trained.Weights - layer.Weights, trained.Bias - layer.Bias

    free, clipped = step(), step(GradientThreshold=0.01)
    for before, after in zip(free, clipped, strict=True):
        assert np.linalg.norm(before) > 0.01
        assert_allclose(np.linalg.norm(after), 0.01, rtol=1e-12)
        assert_allclose(after / 0.01, before / np.linalg.norm(before), rtol=1e-9)
    for before, after in zip(free, step(GradientThreshold=100), strict=True):
        assert_array_equal(before, after)


def test_threshold_of_a_gradient_whose_squares_overflow():
    X, T = problem(dtype=np.float32)
    layer = fixed()
    layer.Weights, layer.Bias = layer.Weights.astype(np.float32), layer.Bias.astype(np.float32)
    options = quiet(InitialLearnRate=1, MaxEpochs=1, Momentum=0, GradientThreshold=0.5)
    trained, _ = trainnet(X, T, layer, lambda Y, T: (1.0, np.full_like(Y, 1e30)), options)
    assert_allclose(trained.Bias, [[-0.5]], rtol=1e-6)


# -- validation ----------------------------------------------------------------------------------------------------


def test_validation():
    X, T = problem()
    options = quiet(MaxEpochs=7, ValidationData=(X[:, :3], T[:, :3]), ValidationFrequency=3, Shuffle="never")
    trained, info = trainnet(X, T, fixed(), "mse", options)
    assert np.flatnonzero(~np.isnan(info.ValidationLoss)).tolist() == [2, 5, 6]  # the last one always
    Y = trained.predict(X[:, :3], "CBT")
    assert_allclose(info.ValidationLoss[-1], np.mean((Y - T[:, :3]) ** 2), rtol=1e-12)
    without, plain = trainnet(X, T, fixed(), "mse", quiet(MaxEpochs=7, Shuffle="never"))
    assert without == trained
    assert np.isnan(plain.ValidationLoss).all()


# -- how it stops --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("interrupt", ["signal", "exception"])
def test_ctrl_c_returns_what_was_trained_so_far(interrupt, several):
    X, T = problem()
    layers = [fixed(), transposedConv1dLayer(1, 1, Weights=[[1.0]], Bias=[0.0])] if several else fixed()
    calls = []

    def loss(Y, T):
        calls.append(None)
        if len(calls) == 4:
            if interrupt == "exception":
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)
        return mean_square(Y, T)

    trained, info = trainnet(X, T, layers, loss, quiet(MaxEpochs=50, Plots="none"))
    expected, three = trainnet(X, T, layers, mean_square, quiet(MaxEpochs=3))
    assert trained == expected
    assert info.StopReason == "Stopped by Ctrl-C"
    assert_array_equal(info.TrainingLoss, three.TrainingLoss)
    assert len(info.LearnRate) == len(info.Epoch) == len(info.ValidationLoss) == 3
    assert "3 iterations" in repr(info)


@pytest.mark.parametrize("several", [False, True])
def test_a_loss_that_is_not_finite_stops_with_the_last_good_layers(several):
    X, T = problem(dtype=np.float32)
    layers = [student(), transposedConv1dLayer(1, 1)] if several else student()
    options = quiet(InitialLearnRate=30, MaxEpochs=500)
    with pytest.raises(
        DivergedError, match=r"^training has diverged: the loss is (nan|inf) in iteration \d+\."
    ) as caught:
        trainnet(X, T, layers, "mse", options)
    good, info = caught.value.layers, caught.value.info
    assert isinstance(good, list) == several
    assert np.isfinite(info.TrainingLoss).all()
    assert info.StopReason == "Diverged"
    Y = X
    for layer in good if several else [good]:
        Y = layer.predict(Y, "CBT")
    with np.errstate(over="ignore"):
        assert_allclose(np.mean((Y - T).astype(np.float64) ** 2), info.TrainingLoss[-1], rtol=1e-5)


def test_data_that_are_not_finite():
    X, T = problem()
    with pytest.raises(DivergedError, match="the loss is nan in iteration 1") as caught:
        trainnet(X, np.full_like(T, np.nan), fixed(), "mse", quiet())
    assert caught.value.layers == fixed()
    assert caught.value.info.TrainingLoss.size == 0
    with pytest.raises(DivergedError, match="the loss of the validation data is nan after iteration 5"):
        trainnet(X, T, fixed(), "mse", quiet(ValidationData=(X, T * np.nan), ValidationFrequency=5))


def test_a_last_step_that_spoils_the_weights():
    def loss(Y, T):
        return 1.0, np.full_like(Y, np.nan)

    with pytest.raises(DivergedError, match="the weights are not finite after the last iteration") as caught:
        trainnet(*problem(), fixed(), loss, quiet(MaxEpochs=1))
    assert caught.value.layers == fixed()


# -- arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"MaxEpochs": 3}}, "^options must be what trainingOptions returns; got dict$"),
        ({"layers": []}, "^layers must be TransposedConvolution1DLayer, one or more; got none$"),
        ({"layers": [fixed(), "relu"]}, "^layers must be .*; got TransposedConvolution1DLayer, str$"),
        ({"X": np.ones((1, 12))}, "^format must have one label for each of the 2 axes of X"),
        ({"X": np.ones((2, 12, 20))}, "^the input has 2 channels, NumChannels is 1$"),
        ({"X": np.ones((1, 0, 20))}, r"^X must have at least one observation; got the shape \(1, 0, 20\)$"),
        ({"X": np.ones((1, 11, 20))}, r"^T must have the 11 observations of X; got the shape \(1, 12, 40\)$"),
        ({"T": np.ones((1, 12, 41))}, r"^T must have the shape \(1, 12, 40\) of the output; got \(1, 12, 41\)$"),
        ({"T": 1j * np.ones((1, 12, 40))}, "^T must be real where the output is; got complex128$"),
        (
            {"lossFcn": ["mse"]},
            "^lossFcn must be 'mse', 'mae' or a function of the output and the targets; got \\['mse'",
        ),
        ({"T": "targets"}, "^T must be an array of bool, integer"),
        (
            {"options": quiet(ValidationData=([[[1.0]]], [[[1.0]]]))},
            r"^ValidationData\[1\] must have the shape \(1, 1, 2\)",
        ),
        ({"options": quiet(InputDataFormats="SCBT")}, "^format must have one label for each of the 3 axes"),
    ],
)
def test_bad_arguments(changes, message):
    X, T = problem()
    arguments = {"X": X, "T": T, "layers": fixed(), "lossFcn": "mse", "options": quiet(), **changes}
    with pytest.raises((TypeError, ValueError), match=message):
        trainnet(**arguments)


# -- what is shown -------------------------------------------------------------------------------------------------


def test_silence(capfd):
    trainnet(*problem(), fixed(), "mse", quiet())
    assert capfd.readouterr() == ("", "")


def test_table_where_tqdm_is_missing(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    X, T = problem()
    options = quiet(Verbose=True, MaxEpochs=60, MiniBatchSize=6, ValidationData=(X, T))
    _, info = trainnet(X, T, fixed(), "mse", options)
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["Iteration", "Epoch", "TimeElapsed", "LearnRate", "TrainingLoss", "ValidationLoss"]
    rows = [row.split() for row in rows]
    assert [row[:2] for row in rows] == [["1", "1"], ["50", "25"], ["100", "50"], ["120", "60"]]
    assert rows[0][3:] == ["0.01", f"{info.TrainingLoss[0]:.5g}"]
    assert rows[-1][4:] == [f"{info.TrainingLoss[-1]:.5g}", f"{info.ValidationLoss[-1]:.5g}"]


def test_bar_on_long_work_alone(capfd, monkeypatch):
    pytest.importorskip("tqdm", reason="the progress bar takes tqdm, extra [progress]")
    X, T = problem()
    options = quiet(Verbose=True, MaxEpochs=3, ValidationData=(X, T), ValidationFrequency=1)
    trainnet(X, T, fixed(), "mse", options)
    assert capfd.readouterr() == ("", "")  # over in milliseconds
    monkeypatch.setattr(progress, "BAR_AFTER", 0)
    _, info = trainnet(X, T, fixed(), "mse", options)
    out, err = capfd.readouterr()
    assert out == ""
    assert "3/3" in err
    assert f"loss={info.TrainingLoss[-1]:.4g}, validation={info.ValidationLoss[-1]:.4g}" in err


def test_curve(monkeypatch):
    matplotlib = pytest.importorskip("matplotlib", reason="the curve takes matplotlib, extra [plots]")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    monkeypatch.setattr(progress, "REDRAW_AFTER", 0)
    X, T = problem()
    options = quiet(Plots="training-progress", MaxEpochs=6, ValidationData=(X, T), ValidationFrequency=2)
    _, info = trainnet(X, T, fixed(), "mse", options)
    losses, validations = info.Figure.axes[0].get_lines()
    assert_array_equal(losses.get_xydata().T, [np.arange(1, 7), info.TrainingLoss])
    assert_array_equal(validations.get_xydata().T, [[2, 4, 6], info.ValidationLoss[1::2]])
    pyplot.close(info.Figure)


def test_curve_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"^Plots='training-progress' needs matplotlib: pip install matplotlib$"):
        trainnet(*problem(), fixed(), "mse", quiet(Plots="training-progress"))
