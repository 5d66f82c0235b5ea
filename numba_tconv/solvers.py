"""The update rules: MATLAB's `sgdmupdate`, `adamupdate` and `rmspropupdate`, on a layer or on a dict of arrays.

Here belongs what one step makes of a parameter, its gradient and the solver's state. Where gradients come from and how
often a step is taken is `training.py`'s business.

The learn rate of a parameter is ``learnRate`` times its learn rate factor, and ``L2Regularization`` times its L2 factor
times the parameter is added to its gradient before the solver sees it (MATLAB documentation, Deep Learning Toolbox,
`trainingOptions`, "Stochastic Gradient Descent" and "L2 Regularization").
"""

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numba_tconv._properties import Integer, Interval, Real, as_valid
from numba_tconv.factors import getL2Factor, getLearnRateFactor
from numba_tconv.layer import TransposedConvolution1DLayer

# What can be updated. A dict has no factors of its own: all are 1.
Net = TypeVar("Net", TransposedConvolution1DLayer, dict[str, NDArray[Any]])
Arrays = dict[str, NDArray[Any]]
State = Mapping[str, ArrayLike] | list[Any] | None

DECAY = Interval(0, 1, "[)")
MOMENTUM = Interval(0, 1, "[]")
POSITIVE = Interval(0, float("inf"), "()")


class _Parameter(NamedTuple):
    """A learnable parameter, and its factors of the learn rate and of the L2 regularization."""

    value: NDArray[Any]
    rate: float
    l2: float


def sgdmupdate(
    net: Net,
    grad: Mapping[str, ArrayLike],
    vel: State = None,
    learnRate: float = 0.01,
    momentum: float = 0.9,
    *,
    L2Regularization: float = 0.0,
    inplace: bool = False,
) -> tuple[Net, Arrays]:
    r"""Take one step of stochastic gradient descent with momentum.

    Parameters
    ----------
    net : TransposedConvolution1DLayer or dict of ndarray
        What learns: a layer with weights, or float32 or float64 arrays, whose factors are all 1.
    grad : dict of array_like
        The gradient of each parameter, as ``layer.backward`` returns it.
    vel : dict of array_like, optional
        The velocity that the step before returned; None, or empty as in MATLAB, for the first one.
    learnRate : float
        The global learn rate.
    momentum : float
        How much of the velocity is kept, from 0 to 1.
    L2Regularization : float
        The global L2 factor.
    inplace : bool
        Whether to change `net`, and the arrays of `vel` that are given, and to return them.

    Returns
    -------
    net : as `net`
        The updated parameters, of their dtypes. A parameter whose learn rate factor is 0 stays as it is.
    vel : dict of ndarray
        The velocity for the next step.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, the rule and what was given. Nothing has changed then.

    Notes
    -----
    .. math:: v \leftarrow m v - \alpha (g + \lambda p), \qquad p \leftarrow p + v

    with the learn rate :math:`\alpha`, the momentum m and the L2 factor :math:`\lambda`, each times the factor of the
    parameter p.

    References
    ----------
    MATLAB documentation, Deep Learning Toolbox, `sgdmupdate`. B. T. Polyak, "Some methods of speeding up the
    convergence of iteration methods", USSR Computational Mathematics and Mathematical Physics 4(5):1-17, 1964.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_tconv import sgdmupdate
    >>> net, vel = sgdmupdate({"p": np.array([1.0])}, {"p": [2.0]}, [], 0.5, 0.9)
    >>> net["p"], vel["p"]
    (array([0.]), array([-1.]))
    >>> sgdmupdate(net, {"p": [2.0]}, vel, 0.5, 0.9)[0]["p"]
    array([-1.9])
    """
    momentum = as_valid("momentum", MOMENTUM, momentum)

    def step(p: Any, g: Any, rate: float, v: Any) -> tuple[Any, ...]:
        v = momentum * v - rate * g
        return p + v, v

    net, new_vel = _updated(step, net, grad, {"vel": vel}, learnRate, L2Regularization, inplace)
    return net, new_vel


def adamupdate(
    net: Net,
    grad: Mapping[str, ArrayLike],
    averageGrad: State,
    averageSqGrad: State,
    iteration: int,
    learnRate: float = 0.001,
    gradDecay: float = 0.9,
    sqGradDecay: float = 0.999,
    epsilon: float = 1e-8,
    *,
    L2Regularization: float = 0.0,
    inplace: bool = False,
) -> tuple[Net, Arrays, Arrays]:
    r"""Take one step of adaptive moment estimation.

    Parameters
    ----------
    net, grad
        As of `sgdmupdate`.
    averageGrad, averageSqGrad : dict of array_like or None
        The moving averages that the step before returned; None, or empty as in MATLAB, for the first one.
    iteration : int
        The number of this step, from 1.
    learnRate : float
        The global learn rate.
    gradDecay, sqGradDecay : float
        How much of either average is kept, from 0 to below 1.
    epsilon : float
        Added to the divisor; positive.
    L2Regularization, inplace
        As of `sgdmupdate`.

    Returns
    -------
    net : as `net`
        The updated parameters, as of `sgdmupdate`.
    averageGrad, averageSqGrad : dict of ndarray
        The averages for the next step.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, the rule and what was given. Nothing has changed then.

    Notes
    -----
    .. math::

        g' = g + \lambda p, \qquad
        m \leftarrow \beta_1 m + (1 - \beta_1) g', \qquad
        v \leftarrow \beta_2 v + (1 - \beta_2) g'^2, \qquad
        p \leftarrow p - \alpha \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}

    References
    ----------
    MATLAB documentation, Deep Learning Toolbox, `adamupdate`. D. P. Kingma and J. Ba, "Adam: A method for stochastic
    optimization", arXiv:1412.6980, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_tconv import adamupdate
    >>> net, m, v = adamupdate({"p": np.array([1.0])}, {"p": [2.0]}, [], [], 1, learnRate=0.25)
    >>> net["p"].round(6), m["p"].round(6), v["p"].round(6)
    (array([0.75]), array([0.2]), array([0.004]))
    """
    iteration = as_valid("iteration", Integer(1), iteration)
    gradDecay = as_valid("gradDecay", DECAY, gradDecay)
    sqGradDecay = as_valid("sqGradDecay", DECAY, sqGradDecay)
    epsilon = as_valid("epsilon", POSITIVE, epsilon)

    def step(p: Any, g: Any, rate: float, m: Any, v: Any) -> tuple[Any, ...]:
        m = gradDecay * m + (1 - gradDecay) * g
        v = sqGradDecay * v + (1 - sqGradDecay) * g * g
        divisor = np.sqrt(v / (1 - sqGradDecay**iteration)) + epsilon
        return p - rate / (1 - gradDecay**iteration) * m / divisor, m, v

    averages = {"averageGrad": averageGrad, "averageSqGrad": averageSqGrad}
    net, new_grad, new_sq_grad = _updated(step, net, grad, averages, learnRate, L2Regularization, inplace)
    return net, new_grad, new_sq_grad


def rmspropupdate(
    net: Net,
    grad: Mapping[str, ArrayLike],
    averageSqGrad: State = None,
    learnRate: float = 0.001,
    sqGradDecay: float = 0.9,
    epsilon: float = 1e-8,
    *,
    L2Regularization: float = 0.0,
    inplace: bool = False,
) -> tuple[Net, Arrays]:
    r"""Take one step of root mean square propagation.

    Parameters
    ----------
    net, grad
        As of `sgdmupdate`.
    averageSqGrad : dict of array_like, optional
        The moving average that the step before returned; None, or empty as in MATLAB, for the first one.
    learnRate : float
        The global learn rate.
    sqGradDecay : float
        How much of the average is kept, from 0 to below 1.
    epsilon : float
        Added to the divisor; positive.
    L2Regularization, inplace
        As of `sgdmupdate`.

    Returns
    -------
    net : as `net`
        The updated parameters, as of `sgdmupdate`.
    averageSqGrad : dict of ndarray
        The average for the next step.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, the rule and what was given. Nothing has changed then.

    Notes
    -----
    .. math::

        g' = g + \lambda p, \qquad
        v \leftarrow \beta_2 v + (1 - \beta_2) g'^2, \qquad
        p \leftarrow p - \alpha \frac{g'}{\sqrt{v} + \epsilon}

    References
    ----------
    MATLAB documentation, Deep Learning Toolbox, `rmspropupdate`. T. Tieleman and G. Hinton, "Lecture 6.5, rmsprop:
    divide the gradient by a running average of its recent magnitude", COURSERA: Neural Networks for Machine Learning,
    2012.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_tconv import rmspropupdate
    >>> net, v = rmspropupdate({"p": np.array([1.0])}, {"p": [2.0]}, [], learnRate=0.25, sqGradDecay=0.75)
    >>> net["p"].round(6), v["p"]
    (array([0.5]), array([1.]))
    """
    sqGradDecay = as_valid("sqGradDecay", DECAY, sqGradDecay)
    epsilon = as_valid("epsilon", POSITIVE, epsilon)

    def step(p: Any, g: Any, rate: float, v: Any) -> tuple[Any, ...]:
        v = sqGradDecay * v + (1 - sqGradDecay) * g * g
        return p - rate * g / (np.sqrt(v) + epsilon), v

    averages = {"averageSqGrad": averageSqGrad}
    net, new_sq_grad = _updated(step, net, grad, averages, learnRate, L2Regularization, inplace)
    return net, new_sq_grad


def regularized(
    net: TransposedConvolution1DLayer | Arrays, grad: Mapping[str, ArrayLike], L2Regularization: float
) -> Arrays:
    """Return gradients with what the L2 regularization adds to them.

    Parameters
    ----------
    net, grad, L2Regularization
        As of `sgdmupdate`.

    Returns
    -------
    dict of ndarray
        ``gradient + L2Regularization * L2 factor * parameter`` for each parameter, of its dtype.

    Raises
    ------
    TypeError, ValueError
        Naming the argument, the rule and what was given.
    """
    parameters = _parameters(net)
    gradients = _like("grad", grad, parameters)
    l2 = as_valid("L2Regularization", Real(), L2Regularization)
    return {
        name: gradients[name] + l2 * parameter.l2 * parameter.value if l2 * parameter.l2 else gradients[name]
        for name, parameter in parameters.items()
    }


def _parameters(net: Any) -> dict[str, _Parameter]:
    if isinstance(net, TransposedConvolution1DLayer):
        if not (net.Weights.size and net.Bias.size):
            raise ValueError("net must have Weights and Bias: initialize it first")
        values = {"Weights": net.Weights, "Bias": net.Bias}
        return {
            name: _Parameter(value, getLearnRateFactor(net, name), getL2Factor(net, name))
            for name, value in values.items()
        }
    if not isinstance(net, dict):
        raise TypeError(f"net must be a TransposedConvolution1DLayer or a dict of arrays; got {type(net).__name__}")
    for name, value in net.items():
        if not isinstance(value, np.ndarray) or value.dtype.char not in "fd":
            got = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            raise TypeError(f"net[{name!r}] must be a float32 or float64 array; got {got}")
    return {name: _Parameter(value, 1.0, 1.0) for name, value in net.items()}


def _like(argument: str, arrays: Any, parameters: dict[str, _Parameter]) -> Arrays:
    """Return an array for each parameter, of its shape and dtype."""
    if not isinstance(arrays, Mapping) or set(arrays) != set(parameters):
        got = ", ".join(map(repr, arrays)) if isinstance(arrays, Mapping) else type(arrays).__name__
        raise ValueError(f"{argument} must have an array for each of {', '.join(map(repr, parameters))}; got {got}")
    checked: Arrays = {}
    for name, parameter in parameters.items():
        array = np.asarray(arrays[name])
        if array.shape != parameter.value.shape:
            raise ValueError(f"{argument}[{name!r}] must have the shape {parameter.value.shape}; got {array.shape}")
        if array.dtype.kind not in "fiu":
            raise TypeError(f"{argument}[{name!r}] must be an array of real numbers; got {array.dtype}")
        checked[name] = array.astype(parameter.value.dtype, copy=False)
    return checked


def _updated(
    step: Callable[..., tuple[Any, ...]],
    net: Any,
    grad: Any,
    states: dict[str, State],
    learnRate: float,
    L2Regularization: float,
    inplace: bool,
) -> tuple[Any, ...]:
    """Return the parameters and the states after one step: all of it is computed before anything is changed."""
    learnRate = as_valid("learnRate", Real(), learnRate)
    parameters = _parameters(net)
    gradients = regularized(net, grad, L2Regularization)
    before = [
        _like(argument, state, parameters)
        if state
        else {name: np.zeros_like(parameter.value) for name, parameter in parameters.items()}
        for argument, state in states.items()
    ]
    values: Arrays = {}
    after: list[Arrays] = [{} for _ in before]
    for name, parameter in parameters.items():
        current = (parameter.value, *(state[name] for state in before))
        if parameter.rate:  # a factor of 0 freezes: what is left of a velocity does not move the parameter either
            current = step(current[0], gradients[name], learnRate * parameter.rate, *current[1:])
        values[name] = current[0]
        for state, array in zip(after, current[1:], strict=True):
            state[name] = array
    if isinstance(net, TransposedConvolution1DLayer):
        net = net if inplace else copy(net)
        net.Weights, net.Bias = values["Weights"], values["Bias"]
    else:
        net = _written(net, values) if inplace else values
    given = states.values()
    return net, *(_written(old, new) if inplace and old else new for old, new in zip(given, after, strict=True))


def _written(old: Any, new: Arrays) -> Any:
    """Return `old` with the values of `new`, in its own arrays."""
    for name, array in new.items():
        np.copyto(old[name], array)
    return old
