"""Training: MATLAB's `trainnet` for a stack of transposed convolution layers.

Here belongs the loop: mini-batches, losses, gradients through the stack, when to stop and what to keep. Options are
`options.py`'s, steps are `solvers.py`'s, gradients are the layer's, and what is shown meanwhile is `progress.py`'s.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from numba_tconv._properties import suggestion
from numba_tconv.arguments import as_array
from numba_tconv.formats import layout_of
from numba_tconv.layer import TransposedConvolution1DLayer
from numba_tconv.options import TrainingOptions
from numba_tconv.progress import Display, Progress
from numba_tconv.solvers import regularized

Array = NDArray[Any]
Layer = TransposedConvolution1DLayer
Loss = Callable[[Array, Array], tuple[float, Array]]

COMPLETED, INTERRUPTED, DIVERGED = "Max epochs completed", "Stopped by Ctrl-C", "Diverged"


@dataclass(frozen=True, eq=False, repr=False)
class TrainingInfo:
    """What a training was like.

    Attributes
    ----------
    TrainingLoss : ndarray (iterations,)
        The loss of each iteration, of its mini-batch, before its step.
    ValidationLoss : ndarray (iterations,)
        The loss of the validation data after the step; NaN for an iteration without validation.
    LearnRate : ndarray (iterations,)
        The global learn rate.
    Epoch : ndarray (iterations,)
        The epoch, from 1.
    StopReason : str
        'Max epochs completed', 'Stopped by Ctrl-C' or, in a `DivergedError`, 'Diverged'.
    Figure : matplotlib.figure.Figure or None
        The curve that ``Plots="training-progress"`` draws.
    """

    TrainingLoss: Array
    ValidationLoss: Array
    LearnRate: Array
    Epoch: Array
    StopReason: str
    Figure: Any = None

    def __repr__(self) -> str:
        numbers = f"{self.TrainingLoss.size} iterations"
        for name, losses in (("loss", self.TrainingLoss), ("validation loss", self.ValidationLoss)):
            known = losses[~np.isnan(losses)]
            numbers += f", {name} {known[0]:.4g} to {known[-1]:.4g}" if known.size else ""
        return f"TrainingInfo({numbers}: {self.StopReason!r})"


class DivergedError(ArithmeticError):
    """A loss or a parameter is NaN or infinite: the training has diverged, or the data were not finite.

    Parameters
    ----------
    message : str
        What was found, and in which iteration.
    layers : TransposedConvolution1DLayer or list
        The last layers whose loss was finite; the initial ones if there were none. As `trainnet` would return them.
    info : TrainingInfo
        The record up to there.
    """

    def __init__(self, message: str, layers: Any, info: TrainingInfo) -> None:
        super().__init__(message)
        self.layers, self.info = layers, info


def trainnet(
    X: Any,
    T: Any,
    layers: Layer | Sequence[Layer],
    lossFcn: str | Loss,
    options: TrainingOptions,
) -> tuple[Any, TrainingInfo]:
    r"""Train a layer, or layers one after another, on examples: MATLAB's `trainnet`.

    Parameters
    ----------
    X : array_like
        Inputs; ``options.InputDataFormats`` names their axes, and B counts the observations. Without B it is one.
    T : array_like
        Targets, of the shape of the output for `X`, with the same labels.
    layers : TransposedConvolution1DLayer or sequence of them
        What is trained; where weights are not set they are drawn with ``options.Seed``. It is not changed.
    lossFcn : {'mse', 'mae'} or callable
        The loss: mean squared error or mean absolute error, or a function ``loss, dLdY = lossFcn(Y, T)`` of the output
        for a mini-batch and its targets that returns a number and its gradient, an array of the shape of Y.
    options : TrainingOptions
        What `trainingOptions` returns.

    Returns
    -------
    layers : TransposedConvolution1DLayer or list of them
        The trained layers, one if one was given. After Ctrl-C, the layers as they are by then.
    info : TrainingInfo
        The losses and learn rates, iteration by iteration, and why it stopped.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, the rule and what was given.
    DivergedError
        If a loss is NaN or infinite; it carries the last good layers.
    ImportError
        If a curve is asked for and matplotlib is missing.

    Notes
    -----
    The means are over all elements:

    .. math:: mse = \frac{1}{N} \sum |Y - T|^2, \qquad mae = \frac{1}{N} \sum |Y - T|

    so that a learn rate serves any length. Each iteration takes a mini-batch through the layers and back, adds the L2
    regularization to the gradients, limits their norms, and takes a step of the solver: see `docs/training.md`.

    References
    ----------
    MATLAB documentation, Deep Learning Toolbox, `trainnet`, `trainingOptions`.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_tconv import trainingOptions, trainnet, transposedConv1dLayer
    >>> X = np.random.default_rng(0).standard_normal((1, 16, 50))  # channel, batch, time
    >>> T = np.repeat(X, 2, axis=-1)  # what to learn: hold every sample
    >>> layer = transposedConv1dLayer(2, 1, Stride=2)
    >>> options = trainingOptions("sgdm", InitialLearnRate=0.1, MaxEpochs=200, L2Regularization=0, Verbose=False)
    >>> trained, info = trainnet(X, T, layer, "mse", options)
    >>> trained.Weights.ravel().round(3), layer.Weights.size
    (array([1., 1.], dtype=float32), 0)
    >>> info.TrainingLoss.size, bool(info.TrainingLoss[-1] < 1e-6)
    (200, True)
    """
    if not isinstance(options, TrainingOptions):
        raise TypeError(f"options must be what trainingOptions returns; got {type(options).__name__}")
    loss = _as_loss(lossFcn)
    data = _as_data("X", X, "T", T, options.InputDataFormats)
    rng = np.random.default_rng(options.Seed)
    stack = _initialized(layers, data, rng)
    validation = None
    if options.ValidationData is not None:
        x, t = options.ValidationData
        validation = _as_data("ValidationData[0]", x, "ValidationData[1]", t, options.InputDataFormats)
    for examples in (data, validation):
        if examples is not None and isinstance(lossFcn, str):
            examples.check_targets(stack)
    training = _Training(stack, loss, options, validation)
    several = isinstance(layers, Sequence)
    try:
        # Numbers that overflow are no surprise here: a loss that is not finite is an error of its own.
        with np.errstate(all="ignore"):
            info = training.run(data, rng)
    except DivergedError as error:
        error.layers = error.layers if several else error.layers[0]
        raise
    return training.stack if several else training.stack[0], info


class _Data(NamedTuple):
    """Inputs and targets, the labels of their axes, the axis of observations or None, and what errors call the two."""

    X: Array
    T: Array
    labels: str
    axis: int | None
    names: tuple[str, str]

    @property
    def observations(self) -> int:
        """How many there are."""
        return 1 if self.axis is None else self.X.shape[self.axis]

    def some(self, which: Array | slice) -> tuple[Array, Array]:
        """Return some observations."""
        if self.axis is None or isinstance(which, slice):
            return self.X, self.T
        return self.X.take(which, self.axis), self.T.take(which, self.axis)

    def check_targets(self, stack: list[Layer]) -> None:
        """Compare the targets with the output for one observation."""
        X, T = self.some(np.arange(1))
        Y = _outputs(stack, X, self.labels)[-1]
        if T.shape != Y.shape:
            shape = tuple(self.observations if axis == self.axis else size for axis, size in enumerate(Y.shape))
            raise ValueError(f"{self.names[1]} must have the shape {shape} of the output; got {self.T.shape}")
        if T.dtype.kind == "c" and Y.dtype.kind != "c":
            raise TypeError(f"{self.names[1]} must be real where the output is; got {T.dtype}")


def _as_data(x_name: str, X: Any, t_name: str, T: Any, labels: str) -> _Data:
    X, T = as_array(x_name, X), as_array(t_name, T)
    layout_of(X, labels)  # raises where the number of axes differs
    axis = labels.find("B") if "B" in labels else None
    data = _Data(X, T, labels, axis, (x_name, t_name))
    if data.observations == 0:
        raise ValueError(f"{x_name} must have at least one observation; got the shape {X.shape}")
    if axis is not None and (T.ndim <= axis or T.shape[axis] != X.shape[axis]):
        raise ValueError(f"{t_name} must have the {X.shape[axis]} observations of {x_name}; got the shape {T.shape}")
    return data


def _initialized(layers: Any, data: _Data, rng: np.random.Generator) -> list[Layer]:
    """Return copies of the layers, with weights."""
    given = list(layers) if isinstance(layers, Sequence) else [layers]
    if not given or not all(isinstance(layer, Layer) for layer in given):
        kinds = ", ".join(type(layer).__name__ for layer in given) or "none"
        raise TypeError(f"layers must be TransposedConvolution1DLayer, one or more; got {kinds}")
    channels = data.X.shape[data.labels.index("C")]
    stack = []
    for layer in given:
        stack.append(copy(layer).initialize(channels, rng=rng))
        channels = layer.NumFilters
    return stack


def _mse(Y: Array, T: Array) -> tuple[float, Array]:
    """Return the mean squared error and its gradient, in the dtype of `Y`."""
    difference = (Y - T).astype(Y.dtype, copy=False)
    return float(np.mean(np.abs(difference) ** 2, dtype=np.float64)), 2 / difference.size * difference


def _mae(Y: Array, T: Array) -> tuple[float, Array]:
    """Return the mean absolute error and its gradient, 0 where there is no error, in the dtype of `Y`."""
    difference = (Y - T).astype(Y.dtype, copy=False)
    size = np.abs(difference)
    sign = np.divide(difference, size, out=np.zeros_like(difference), where=size != 0)
    return float(np.mean(size, dtype=np.float64)), sign / difference.size


LOSSES: dict[str, Loss] = {"mse": _mse, "mae": _mae}


def _as_loss(lossFcn: Any) -> Loss:
    if callable(lossFcn):
        return lossFcn  # type: ignore[no-any-return]
    if isinstance(lossFcn, str) and lossFcn.lower() in LOSSES:
        return LOSSES[lossFcn.lower()]
    got = f"{lossFcn!r}{suggestion(lossFcn, LOSSES)}" if isinstance(lossFcn, str) else repr(lossFcn)
    raise ValueError(f"lossFcn must be 'mse', 'mae' or a function of the output and the targets; got {got}")


def _outputs(stack: list[Layer], X: Array, labels: str) -> list[Array]:
    """Return the input, and the output of each layer."""
    outputs = [X]
    for layer in stack:
        outputs.append(layer.forward(outputs[-1], labels))
    return outputs


def _gradients(stack: list[Layer], outputs: list[Array], dLdY: Array, labels: str) -> list[dict[str, Array]]:
    """Return the gradients of each layer's parameters; nobody needs that of the first layer's input."""
    gradients = []
    for layer, X in zip(reversed(stack), reversed(outputs[:-1]), strict=True):
        wanted = ("Weights", "Bias") if layer is stack[0] else ("X", "Weights", "Bias")
        dLdY, gradient = layer.backward(X, dLdY, labels, wrt=wanted)
        gradients.append(gradient)
    return gradients[::-1]


def _limited(gradient: dict[str, Array], threshold: float) -> dict[str, Array]:
    """Return gradients, each scaled down to the norm `threshold` where its own is larger."""
    if threshold == float("inf"):
        return gradient
    # Summed in float64: a norm that overflows in float32 would scale the gradient down to nothing.
    norms = {name: float(np.sqrt(np.sum(np.square(array, dtype=np.float64)))) for name, array in gradient.items()}
    return {
        name: array * (threshold / norms[name]) if norms[name] > threshold else array
        for name, array in gradient.items()
    }


def _mini_batches(
    observations: int, options: TrainingOptions, rng: np.random.Generator
) -> Iterator[tuple[int, Array | slice]]:
    """Yield the epoch and the observations of each iteration; all of them at once take no shuffling."""
    size = options.MiniBatchSize
    order = rng.permutation(observations) if options.Shuffle == "once" else np.arange(observations)
    for epoch in range(1, options.MaxEpochs + 1):
        if size >= observations:
            yield epoch, slice(None)
            continue
        if options.Shuffle == "every-epoch":
            order = rng.permutation(observations)
        for start in range(0, observations - size + 1, size):
            yield epoch, order[start : start + size]


class _Training:
    """The layers while they are trained, and what was recorded."""

    def __init__(self, stack: list[Layer], loss: Loss, options: TrainingOptions, validation: _Data | None) -> None:
        self.stack = self._good = stack
        self._loss, self._options, self._validation = loss, options, validation
        self._states: list[tuple[Any, ...]] = [()] * len(stack)
        self._losses: list[float] = []
        self._validations: list[float] = []
        self._epochs: list[int] = []
        self._figure: Any = None

    def run(self, data: _Data, rng: np.random.Generator) -> TrainingInfo:
        """Train until the epochs are over or somebody has had enough, and return the record."""
        options = self._options
        iterations = options.MaxEpochs * max(1, data.observations // options.MiniBatchSize)
        display = Display(iterations, verbose=options.Verbose, plot=options.Plots != "none")
        self._figure = display.figure
        try:
            with display:
                for iteration, (epoch, which) in enumerate(_mini_batches(data.observations, options, rng), 1):
                    rate = options.learn_rate(epoch)
                    self._step(*data.some(which), data.labels, iteration, epoch, rate)
                    self._validate(iteration, last=iteration == iterations)
                    display.update(Progress(epoch, iteration, rate, self._losses, self._validations))
        except KeyboardInterrupt:
            return self._info(INTERRUPTED)
        if not all(np.isfinite(array).all() for layer in self.stack for array in (layer.Weights, layer.Bias)):
            self._diverged("the weights are not finite after the last iteration")
        return self._info(COMPLETED)

    def _step(self, X: Array, T: Array, labels: str, iteration: int, epoch: int, rate: float) -> None:
        """Take one step: the layers and the record change at its end, together."""
        options = self._options
        outputs = _outputs(self.stack, X, labels)
        loss, dLdY = self._evaluated(outputs[-1], T)
        if not isfinite(loss):
            self._diverged(f"the loss is {loss} in iteration {iteration}")
        gradients = _gradients(self.stack, outputs, dLdY, labels)
        after = []
        for layer, gradient, state in zip(self.stack, gradients, self._states, strict=True):
            limited = _limited(regularized(layer, gradient, options.L2Regularization), options.GradientThreshold)
            after.append(options.update(layer, limited, state, iteration, rate))
        self._good, self.stack = self.stack, [layer for layer, _ in after]
        self._states = [state for _, state in after]
        self._losses.append(loss)
        self._validations.append(float("nan"))
        self._epochs.append(epoch)

    def _validate(self, iteration: int, *, last: bool) -> None:
        """Record the loss of the validation data where it is time for it."""
        data = self._validation
        if data is None or not (last or iteration % self._options.ValidationFrequency == 0):
            return
        loss, _ = self._evaluated(_outputs(self.stack, data.X, data.labels)[-1], data.T)
        if not isfinite(loss):
            self._diverged(f"the loss of the validation data is {loss} after iteration {iteration}")
        self._validations[-1] = loss

    def _evaluated(self, Y: Array, T: Array) -> tuple[float, Array]:
        """Return what the loss function returns, as a float and an array of the dtype of `Y`."""
        result: Any = self._loss(Y, T)
        if not (isinstance(result, tuple) and len(result) == 2 and np.ndim(result[0]) == 0):
            raise TypeError(f"lossFcn must return a number and an array, loss and dLdY; got {type(result).__name__}")
        loss, dLdY = float(result[0]), as_array("dLdY", result[1])
        if dLdY.shape != Y.shape:
            raise ValueError(f"dLdY of lossFcn must have the shape {Y.shape} of the output; got {dLdY.shape}")
        if dLdY.dtype.kind == "c" and Y.dtype.kind != "c":
            raise TypeError(f"dLdY of lossFcn must be real where the output is; got {dLdY.dtype}")
        return loss, dLdY.astype(Y.dtype, copy=False)

    def _diverged(self, what: str) -> NoReturn:
        raise DivergedError(
            f"training has diverged: {what}. A lower InitialLearnRate or a GradientThreshold may help; the `layers` "
            "of this error are the last good ones",
            self._good,
            self._info(DIVERGED),
        )

    def _info(self, reason: str) -> TrainingInfo:
        epochs = np.array(self._epochs, np.int64)
        rates = np.array([self._options.learn_rate(epoch) for epoch in self._epochs])
        return TrainingInfo(np.array(self._losses), np.array(self._validations), rates, epochs, reason, self._figure)
