"""MATLAB's `trainingOptions`: what may be chosen about a training, one class for each solver.

Here belong the options, their rules, defaults and display, and which update rule a solver takes. The update rules are
`solvers.py`'s, the loop is `training.py`'s.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from numba_tconv._properties import (
    Declared,
    Integer,
    Interval,
    OneOf,
    Property,
    Real,
    Rule,
    as_valid,
    declarations,
    match_options,
)
from numba_tconv.formats import FORMATS, check_labels
from numba_tconv.layer import TransposedConvolution1DLayer
from numba_tconv.solvers import DECAY, MOMENTUM, POSITIVE, adamupdate, rmspropupdate, sgdmupdate

Layer = TransposedConvolution1DLayer


class Switch:
    """True or false."""

    def __str__(self) -> str:
        return "True or False"

    def __call__(self, value: Any) -> bool:
        """Return a bool; 1 and 0 are taken as MATLAB takes them."""
        if not isinstance(value, (bool, int, np.bool_, np.integer)):
            raise TypeError
        if value not in (0, 1):
            raise ValueError
        return bool(value)

    def good(self) -> Iterable[tuple[Any, bool]]:
        """Return both, in several ways."""
        return [(True, True), (False, False), (1, True), (np.False_, False)]

    def bad(self) -> Iterable[Any]:
        """Return what is neither."""
        return [2, -1, 1.0, "true", None, [True]]


class Optional:
    """What another rule accepts, or None."""

    def __init__(self, rule: Rule[int]) -> None:
        self.rule = rule

    def __str__(self) -> str:
        return f"None or {self.rule}"

    def __call__(self, value: Any) -> int | None:
        """Return None or what the other rule keeps."""
        return None if value is None else self.rule(value)

    def good(self) -> Iterable[tuple[Any, Any]]:
        """Return None and what the other rule accepts."""
        return [(None, None), *self.rule.good()]

    def bad(self) -> Iterable[Any]:
        """Return what the other rule refuses."""
        return [value for value in self.rule.bad() if value is not None]


class Labels:
    """The labels of a data format, in any order."""

    def __str__(self) -> str:
        return f"one of {', '.join(FORMATS)}, in any order of the labels"

    def __call__(self, value: Any) -> str:
        """Return a str."""
        if not isinstance(value, str):
            raise TypeError
        try:
            return check_labels(str(value)).labels
        except ValueError:
            raise ValueError from None

    def good(self) -> Iterable[tuple[Any, str]]:
        """Return formats, in two orders."""
        return [(labels, labels) for name in FORMATS for labels in (name, name[::-1])]

    def bad(self) -> Iterable[Any]:
        """Return other labels, and what is no text."""
        return ["", "CB", "CBTT", "auto", "cbt", None, 3, ["CBT"]]


class Examples:
    """A pair of an input and its targets, or nothing."""

    def __str__(self) -> str:
        return "a pair (X, T), or [] for none"

    def __call__(self, value: Any) -> tuple[Any, Any] | None:
        """Return the pair, or None where there is none."""
        if value is None:
            return None
        if not isinstance(value, (tuple, list)):
            raise TypeError
        if len(value) not in (0, 2):
            raise ValueError
        return (value[0], value[1]) if value else None

    def good(self) -> Iterable[tuple[Any, Any]]:
        """Return nothing in several ways, and a pair."""
        return [(None, None), ([], None), ((), None), ([[1], [2]], ([1], [2]))]

    def bad(self) -> Iterable[Any]:
        """Return what is no pair."""
        return [np.ones((2, 3)), 1, "XT", (1,), (1, 2, 3), {}]


class TrainingOptions(Declared):
    """What the options of all solvers have in common; made by `trainingOptions`."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]  # it can change

    InitialLearnRate = Property(POSITIVE, "The learn rate of the first epoch.", 0.001)
    LearnRateSchedule = Property(
        OneOf("none", "piecewise"), "'piecewise' lowers the learn rate every `LearnRateDropPeriod` epochs.", "none"
    )
    LearnRateDropFactor = Property(Interval(0, 1, "[]"), "What a drop multiplies the learn rate by.", 0.1)
    LearnRateDropPeriod = Property(Integer(1), "Epochs from one drop to the next.", 10)
    L2Regularization = Property(Real(), "The global factor of the L2 regularization.", 1e-4)
    GradientThreshold = Property(
        Interval(0, float("inf"), "(]"),
        "The L2 norm that the gradient of a parameter is scaled down to where it is larger.",
        float("inf"),
    )
    MaxEpochs = Property(Integer(1), "How often all observations are seen.", 30)
    MiniBatchSize = Property(
        Integer(1), "Observations in one step; those that fill no mini-batch are left out of the epoch.", 128
    )
    Shuffle = Property(OneOf("once", "never", "every-epoch"), "When observations are put in another order.", "once")
    ValidationData = Property(Examples(), "Inputs and targets whose loss is recorded besides.", None)
    ValidationFrequency = Property(Integer(1), "Iterations from one validation to the next.", 50)
    Verbose = Property(Switch(), "Whether to show progress on the terminal.", True)
    Plots = Property(OneOf("none", "training-progress"), "Whether to draw the loss; takes matplotlib.", "none")
    InputDataFormats = Property(Labels(), "The labels of the axes of inputs and targets.", "CBT")
    Seed = Property(
        Optional(Integer(0)), "Seed of initial weights and of shuffling; None for another one each time.", None
    )

    def __init__(self, **options: Any) -> None:
        declared = declarations(type(self))
        given = match_options(options, declared)
        self._values = {
            name: as_valid(name, item.rule, given.get(name, item.default)) for name, item in declared.items()
        }

    def _resolve(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values: none depends on another."""
        return values

    def learn_rate(self, epoch: int) -> float:
        """Return the learn rate of an epoch, counted from 1."""
        drops = (epoch - 1) // self.LearnRateDropPeriod if self.LearnRateSchedule == "piecewise" else 0
        return self.InitialLearnRate * self.LearnRateDropFactor**drops

    def update(
        self, layer: Layer, grad: dict[str, Any], state: tuple[Any, ...], iteration: int, rate: float
    ) -> tuple[Layer, tuple[Any, ...]]:
        """Return a layer and the solver's state after one step; the state before the first one is empty."""
        raise NotImplementedError

    def __repr__(self) -> str:
        own = [name for name in vars(type(self)) if name in self._values]
        names = [*own, *(name for name in self._values if name not in own)]
        width = max(map(len, names)) + 4
        lines = [f"{name:>{width}}: {_display(self._values[name])}" for name in names]
        return "\n".join([f"  {type(self).__name__} with properties:", "", *lines])


class TrainingOptionsSGDM(TrainingOptions):
    """Options of stochastic gradient descent with momentum."""

    __slots__ = ()

    Momentum = Property(MOMENTUM, "How much of the velocity a step keeps.", 0.9)
    InitialLearnRate = Property(POSITIVE, "The learn rate of the first epoch.", 0.01)

    def update(
        self, layer: Layer, grad: dict[str, Any], state: tuple[Any, ...], iteration: int, rate: float
    ) -> tuple[Layer, tuple[Any, ...]]:
        """Return a layer and its velocity after one step."""
        (vel,) = state or (None,)
        layer, vel = sgdmupdate(layer, grad, vel, rate, self.Momentum)
        return layer, (vel,)


class TrainingOptionsADAM(TrainingOptions):
    """Options of adaptive moment estimation."""

    __slots__ = ()

    GradientDecayFactor = Property(DECAY, "How much of the average gradient a step keeps.", 0.9)
    SquaredGradientDecayFactor = Property(DECAY, "How much of the average squared gradient a step keeps.", 0.999)
    Epsilon = Property(POSITIVE, "Added to the divisor.", 1e-8)

    def update(
        self, layer: Layer, grad: dict[str, Any], state: tuple[Any, ...], iteration: int, rate: float
    ) -> tuple[Layer, tuple[Any, ...]]:
        """Return a layer and its two moving averages after one step."""
        decays = self.GradientDecayFactor, self.SquaredGradientDecayFactor
        m, v = state or (None, None)
        layer, m, v = adamupdate(layer, grad, m, v, iteration, rate, *decays, self.Epsilon)
        return layer, (m, v)


class TrainingOptionsRMSProp(TrainingOptions):
    """Options of root mean square propagation."""

    __slots__ = ()

    SquaredGradientDecayFactor = Property(DECAY, "How much of the average squared gradient a step keeps.", 0.9)
    Epsilon = Property(POSITIVE, "Added to the divisor.", 1e-8)

    def update(
        self, layer: Layer, grad: dict[str, Any], state: tuple[Any, ...], iteration: int, rate: float
    ) -> tuple[Layer, tuple[Any, ...]]:
        """Return a layer and its moving average after one step."""
        (v,) = state or (None,)
        layer, v = rmspropupdate(layer, grad, v, rate, self.SquaredGradientDecayFactor, self.Epsilon)
        return layer, (v,)


SOLVERS = {"sgdm": TrainingOptionsSGDM, "adam": TrainingOptionsADAM, "rmsprop": TrainingOptionsRMSProp}


def trainingOptions(solverName: str, **options: Any) -> TrainingOptions:
    """Choose how to train: MATLAB's `trainingOptions`.

    Parameters
    ----------
    solverName : {'sgdm', 'adam', 'rmsprop'}
        The update rule.
    **options
        Matched without regard to case:

        - ``InitialLearnRate``, positive, 0.01 for 'sgdm' and 0.001 for the others.
        - ``LearnRateSchedule``, 'none': 'piecewise' multiplies the learn rate by ``LearnRateDropFactor``, 0.1, every
          ``LearnRateDropPeriod``, 10, epochs.
        - ``L2Regularization``, 0.0001, not negative.
        - ``GradientThreshold``, Inf: a gradient with a larger L2 norm is scaled down to it, parameter by parameter.
        - ``MaxEpochs``, 30; ``MiniBatchSize``, 128: positive integers.
        - ``Shuffle``, 'once': also 'never' and 'every-epoch'.
        - ``ValidationData``, [] or ``(X, T)``; ``ValidationFrequency``, 50 iterations.
        - ``Verbose``, True: show progress on the terminal. ``Plots``, 'none': 'training-progress' draws the loss.
        - ``InputDataFormats``, 'CBT': the labels of the axes of inputs and targets, as of ``layer.predict``.
        - ``Seed``, None or a non-negative integer, which is not MATLAB's: equal seeds give equal bits.
        - For 'sgdm' ``Momentum``, 0.9. For 'adam' ``GradientDecayFactor``, 0.9. For 'adam' and 'rmsprop'
          ``SquaredGradientDecayFactor``, 0.999 and 0.9, and ``Epsilon``, 1e-8.

    Returns
    -------
    TrainingOptionsSGDM, TrainingOptionsADAM or TrainingOptionsRMSProp
        The options, for `trainnet`. They can be set later too.

    Raises
    ------
    TypeError, ValueError
        Naming the option, the rule and what was given.

    References
    ----------
    MATLAB documentation, Deep Learning Toolbox, `trainingOptions`.

    Examples
    --------
    >>> from numba_tconv import trainingOptions
    >>> options = trainingOptions("adam", MaxEpochs=5)
    >>> options.InitialLearnRate, options.MaxEpochs, options.Shuffle
    (0.001, 5, 'once')
    """
    solver = as_valid("solverName", OneOf(*SOLVERS), solverName)
    homes: dict[str, list[str]] = {}
    for other, options_class in SOLVERS.items():
        for name in declarations(options_class):
            homes.setdefault(name, []).append(other)
    given = match_options(options, homes)
    for name in given:
        if solver not in homes[name]:
            raise TypeError(f"{name} is an option of {' and '.join(map(repr, homes[name]))}, not of {solver!r}")
    return SOLVERS[solver](**given)


def _display(value: Any) -> str:
    """Return a value as MATLAB displays it."""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        if value == float("inf"):
            return "Inf"
        return f"{value:.0f}" if value.is_integer() else f"{value:.4f}" if value >= 1e-3 else f"{value:.4e}"
    if isinstance(value, tuple):
        return f"{{{'  '.join(f'[{_size(array)}]' for array in value)}}}"
    return "[]" if value is None else repr(value)


def _size(array: Any) -> str:
    shape = np.shape(array)
    return f"{'×'.join(map(str, shape))} {np.asarray(array).dtype}"
