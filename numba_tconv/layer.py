"""MATLAB's `TransposedConvolution1DLayer`, property for property, on top of the plan `ConvTranspose1d`.

Here belong the layer's names, how its values fit together, and when weights are drawn and packed. What a single value
must be is said in `_properties.py`, axes are named in `formats.py`, distributions are `initializers.py`'s, the file is
`storage.py`'s; all arithmetic is behind `functional` and `geometry`. MATLAB's spelling lives here and in the files of
training.
"""

import os
from collections.abc import Callable, Collection
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from numba_tconv import initializers, storage
from numba_tconv._properties import (
    AutoOr,
    Constant,
    Crop,
    Declared,
    Integer,
    Learnable,
    OneOf,
    Pair,
    Property,
    Real,
    Text,
    WordOrCallable,
    as_valid,
    declarations,
    match_options,
)
from numba_tconv.arguments import as_array
from numba_tconv.formats import Format, Layout, is_data_array, labels_of_dims, layout_of, like_data_array
from numba_tconv.functional import ConvTranspose1d
from numba_tconv.geometry import Geometry, Padding, geometry

# What the display shows, under which headline, in the documentation's order.
_DISPLAY = {
    "": ("Name",),
    "Hyperparameters": ("FilterSize", "NumChannels", "NumFilters", "Stride", "CroppingMode", "CroppingSize"),
    "Learnable Parameters": ("Weights", "Bias"),
}
# What the engine calls that which there are gradients of.
_ENGINE_NAMES = {"X": "x", "Weights": "weight", "Bias": "bias"}
_WEIGHTS = Learnable("FilterSize", "NumFilters", "NumChannels", optional="NumChannels")
_BIAS = Learnable("1", "NumFilters", optional="1")
_WEIGHTS_INITIALIZER = WordOrCallable(*initializers.WEIGHTS, "icnr", spellings=initializers.SPELLINGS)
_BIAS_INITIALIZER = WordOrCallable(*initializers.BIAS, spellings=initializers.SPELLINGS)


class TransposedConvolution1DLayer(Declared):
    """A transposed convolution layer with MATLAB's properties; made by `transposedConv1dLayer`.

    Properties can be set after creation, unless they are read-only; each assignment is checked as at creation, and one
    that is refused leaves the layer as it was. Layers can be copied, pickled, saved, and compared by value.

    Parameters
    ----------
    filterSize : int
        Length of the filters.
    numFilters : int
        Number of filters, which is the number of channels of the output.
    **options
        As of `transposedConv1dLayer`.

    Raises
    ------
    TypeError, ValueError
        Naming the option, the rule and what was given.

    Examples
    --------
    >>> import numpy as np
    >>> from numba_tconv import TransposedConvolution1DLayer
    >>> layer = TransposedConvolution1DLayer(2, 1, Stride=2, Weights=[[1.0], [1.0]], Bias=[10.0])
    >>> layer.predict(np.array([[1.0, 2.0, 3.0]]), "CT")
    array([[11., 11., 12., 12., 13., 13.]])
    """

    __slots__ = ("_packed",)
    __hash__ = None  # type: ignore[assignment]  # it can change, and equals what has the same values

    FilterSize = Property(Integer(1), "Length of the filters, in samples.")
    NumFilters = Property(Integer(1), "Number of filters: the channels of the output.", access="create")
    Stride = Property(Integer(1), "Output step per input sample: the factor of the upsampling.", 1)
    CroppingMode = Property(
        OneOf("manual", "same"), "How the crop is found; follows `Cropping`.", "manual", access="read"
    )
    CroppingSize = Property(
        Pair(), "Samples cut from the output's two ends; follows `Cropping`.", (0, 0), access="read"
    )
    NumChannels = Property(AutoOr(Integer(1)), "Channels of the input; known from data or weights.", "auto", "create")
    WeightsInitializer = Property(_WEIGHTS_INITIALIZER, "How weights are drawn where none are set.", "glorot")
    BiasInitializer = Property(_BIAS_INITIALIZER, "How the bias is drawn where none is set.", "zeros")
    Weights = Property(_WEIGHTS, "The filters, handed out as a read-only view; empty where not set.", [])
    Bias = Property(_BIAS, "Added to every sample of a channel; as `Weights`.", [])
    WeightLearnRateFactor = Property(Real(), "Factor of the learn rate for the weights.", 1)
    BiasLearnRateFactor = Property(Real(), "Factor of the learn rate for the bias.", 1)
    WeightL2Factor = Property(Real(), "Factor of the L2 regularization for the weights.", 1)
    BiasL2Factor = Property(Real(), "Factor of the L2 regularization for the bias.", 0)
    Name = Property(Text(), "Name of the layer.", "")
    NumInputs = Property(Constant(1), "Number of inputs.", 1, access="read")
    InputNames = Property(Constant(("in",)), "Names of the inputs.", ("in",), access="read")
    NumOutputs = Property(Constant(1), "Number of outputs.", 1, access="read")
    OutputNames = Property(Constant(("out",)), "Names of the outputs.", ("out",), access="read")

    # The plan and the values that it was made of. An assignment makes another object of the values: the plan is stale.
    _packed: tuple[dict[str, Any], str, ConvTranspose1d] | None

    def __init__(self, filterSize: int, numFilters: int, **options: Any) -> None:
        declared = declarations(type(self))
        given = match_options({"FilterSize": filterSize, "NumFilters": numFilters, **options}, self._option_names())
        crop = as_valid("Cropping", Crop(), given.pop("Cropping", 0))
        values = {name: given.get(name, item.default) for name, item in declared.items()}
        values |= {"CroppingMode": "same"} if crop == "same" else {"CroppingSize": crop}
        self._packed = None
        self._values = {}
        self._assign({name: as_valid(name, declared[name].rule, value) for name, value in values.items()})

    def _resolve(self, values: dict[str, Any]) -> dict[str, Any]:
        """Check weights and bias against the sizes; find the number of channels, and the crop of 'same'."""
        filter_size, filters, channels = (values[name] for name in ("FilterSize", "NumFilters", "NumChannels"))
        weights, bias = values["Weights"], values["Bias"]
        if weights.size:
            channels = weights.shape[-1] if channels == "auto" else channels
            if weights.shape != (filter_size, filters, channels):
                raise ValueError(
                    "Weights must have the shape (FilterSize, NumFilters, NumChannels) = "
                    f"{(filter_size, filters, channels)}; got {weights.shape}"
                )
        if bias.size and bias.shape != (1, filters):
            raise ValueError(f"Bias must have the shape (1, NumFilters) = {(1, filters)}; got {bias.shape}")
        resolved = {**values, "NumChannels": channels}
        if values["CroppingMode"] == "same":
            crop = geometry(1, filter_size, values["Stride"], "same", 0, 1)
            resolved["CroppingSize"] = crop.left, crop.right
        return resolved

    def initialize(self, source: Any = None, format: Format = None, *, rng: Any = None) -> Self:
        """Draw the weights and the bias where they are not set, for the channels that are given.

        Parameters
        ----------
        source : int, array_like or xarray.DataArray, optional
            The number of channels of the input, or an input; not needed where `NumChannels` is known.
        format : str or mapping, optional
            The labels of the input's axes, as of `predict`.
        rng : numpy.random.Generator or seed, optional
            Where randomness comes from.

        Returns
        -------
        TransposedConvolution1DLayer
            The layer itself, so that ``layer = layer.initialize(64)`` does what it does in MATLAB.

        Raises
        ------
        TypeError, ValueError
            If the number of channels is not the layer's, or not known; and as an initializer says. The layer is as
            it was then.

        Examples
        --------
        >>> from numba_tconv import transposedConv1dLayer
        >>> layer = transposedConv1dLayer(11, 96, Stride=4).initialize(64, rng=0)
        >>> layer.Weights.shape, layer.Weights.dtype, layer.NumChannels
        ((11, 96, 64), dtype('float32'), 64)
        """
        if format is not None or is_data_array(source):
            self._initialize(self._engine_view(source, format)[0].shape[-2], rng)
        elif source is not None:
            self._initialize(source, rng)
        elif self.NumChannels == "auto":
            raise ValueError(
                "initialize needs the number of channels, or an input and its format: NumChannels is 'auto'"
            )
        else:
            self._initialize(self.NumChannels, rng)
        return self

    def predict(self, X: Any, format: Format = None, *, device: str = "auto") -> Any:
        r"""Return the transposed convolution of `X`.

        A layer without weights draws them now, for the channels of `X`: see `initialize`.

        Parameters
        ----------
        X : array_like or xarray.DataArray
            Signals; any strides, any dtype of `conv_transpose1d`.
        format : str or mapping
            One label for each axis of `X`: one of 'CBT', 'SCB', 'SCBT', 'CT', 'SC', 'SCT' with the labels in any order.
            S is upsampled, or T where there is no S. For a DataArray also a mapping from dims to labels; not needed
            where the dims are labels.
        device : {'auto', 'cpu', 'cuda'}
            As of `conv_transpose1d`.

        Returns
        -------
        ndarray or xarray.DataArray
            The output, its axes as those of `X`, of the dtype ``np.result_type(X, Weights)``. It has
            ``(length-1)*Stride + FilterSize - sum(CroppingSize)`` samples, or ``length*Stride`` with 'same'.
            It may be a transposed view of contiguous memory.

        Raises
        ------
        TypeError, ValueError
            For an input that does not fit the format or the layer, and for a crop that leaves nothing.

        Notes
        -----
        .. math:: y[n, f, s i + k - left] \mathrel{+}= Weights[k, f, c] \, x[n, c, i]

        and the bias once. MATLAB's documentation has it as :math:`Y = C^T X + B`, with the matrix C of the convolution.

        Examples
        --------
        >>> import numpy as np
        >>> from numba_tconv import transposedConv1dLayer
        >>> hold = transposedConv1dLayer(3, 1, Stride=3, Weights=np.ones((3, 1)))
        >>> hold.predict(np.array([[1.0], [2.0]]), "TC").T
        array([[1., 1., 1., 2., 2., 2.]])
        """
        x, layout, array = self._engine_view(X, format)
        plan = self._plan(x, array, device)
        try:
            y = layout.from_engine(plan(x), array)
        except ValueError:
            self._check_length(x.shape[-1], array)
            raise
        return like_data_array(y, X, layout.labels) if is_data_array(X) else y

    def forward(self, X: Any, format: Format = None, *, device: str = "auto") -> Any:
        """Return what `predict` does: this layer does the same in training.

        Parameters
        ----------
        X, format, device
            As of `predict`.

        Returns
        -------
        ndarray or xarray.DataArray
            As of `predict`.
        """
        return self.predict(X, format, device=device)

    def backward(
        self,
        X: Any,
        dLdY: Any,
        format: Format = None,
        *,
        wrt: str | Collection[str] = ("X", "Weights", "Bias"),
        device: str = "auto",
    ) -> tuple[Any, dict[str, NDArray[Any]]]:
        r"""Return the gradients of a loss with respect to the input, the weights and the bias.

        Parameters
        ----------
        X : array_like or xarray.DataArray
            The input that `forward` was given.
        dLdY : array_like or xarray.DataArray
            The gradient of the loss with respect to ``forward(X, format)``, of its shape, with the same labels.
        format : str or mapping
            As of `predict`.
        wrt : collection of {'X', 'Weights', 'Bias'}
            With respect to what; ``wrt="X"`` for one alone. Nothing is computed for the others.
        device : {'auto', 'cpu', 'cuda'}
            As of `predict`.

        Returns
        -------
        dLdX : ndarray, xarray.DataArray or None
            The gradient with respect to `X`, its axes as those of `X`; None where not asked for.
        gradients : dict of ndarray
            ``{"Weights": ..., "Bias": ...}``, of the shapes of `Weights` and `Bias`; without what was not asked for.

        Raises
        ------
        TypeError, ValueError
            If no weights are set, and for arrays that do not fit the format or the layer.

        Notes
        -----
        .. math::

            \frac{\partial L}{\partial x[n, c, i]} = \sum_{f, k} Weights[k, f, c] \, dLdY[n, f, s i + k - left]

            \frac{\partial L}{\partial Weights[k, f, c]} = \sum_{n, i} x[n, c, i] \, dLdY[n, f, s i + k - left]

        and the sum of dLdY over n and time for the bias. For complex data, see `conv_transpose1d_backward`.

        Examples
        --------
        >>> import numpy as np
        >>> from numba_tconv import transposedConv1dLayer
        >>> layer = transposedConv1dLayer(2, 1, Stride=2, Weights=[[1.0], [10.0]], Bias=[0.0])
        >>> dLdX, gradients = layer.backward([[1.0, 2.0, 3.0]], np.ones((1, 6)), "CT")
        >>> dLdX, gradients["Weights"].T, gradients["Bias"]
        (array([[11., 11., 11.]]), array([[[6., 6.]]]), array([[6.]]))
        """
        names = [wrt] if isinstance(wrt, str) else wrt
        if not set(names) <= set(_ENGINE_NAMES):
            raise ValueError(f"wrt must hold names out of 'X', 'Weights' and 'Bias'; got {wrt!r}")
        if not (self.Weights.size and self.Bias.size):
            raise ValueError("backward needs Weights and Bias: initialize the layer, or predict, first")
        x, layout, array = self._engine_view(X, format)
        plan = self._plan(x, array, device)
        if is_data_array(X) and is_data_array(dLdY):
            dLdY = dLdY.transpose(*X.dims).values
        grad_output = as_array("dLdY", dLdY)
        self._check_length(x.shape[-1], array)
        length = geometry(x.shape[-1], self.FilterSize, self.Stride, self._padding(), 0, 1).output_length
        shape = layout.output_shape(array, self.NumFilters, length)
        if grad_output.shape != shape:
            raise ValueError(f"dLdY must have the shape {shape} of the output; got {grad_output.shape}")
        grad = plan.backward(layout.to_engine(grad_output), x, wrt=[_ENGINE_NAMES[name] for name in names])
        gradients = {} if grad.weight is None else {"Weights": grad.weight.T}
        gradients |= {} if grad.bias is None else {"Bias": grad.bias[np.newaxis]}
        dLdX: Any = None if grad.x is None else layout.from_engine(grad.x, array)
        return X.copy(data=dLdX) if is_data_array(X) and dLdX is not None else dLdX, gradients

    def _engine_view(self, X: Any, format: Format) -> tuple[NDArray[Any], Layout, NDArray[Any]]:
        """Return `X` as the engine takes it, the way back, and `X` as an array."""
        if is_data_array(X):
            array, format = X.values, labels_of_dims(X, format)
        else:
            array = as_array("X", X)
        layout = layout_of(array, format)
        return layout.to_engine(array), layout, array

    def _initialize(self, channels: Any, seed: Any) -> None:
        channels = as_valid("The number of channels", Integer(1), channels)
        if self.NumChannels not in ("auto", channels):
            raise ValueError(f"the input has {channels} channels, NumChannels is {self.NumChannels}")
        changes: dict[str, Any] = {} if self.NumChannels == channels else {"NumChannels": channels}
        try:
            rng = np.random.default_rng(seed)
        except (TypeError, ValueError) as error:
            raise type(error)(f"rng must be a numpy.random.Generator or a seed; got {seed!r}") from None
        sizes = (self.FilterSize, self.NumFilters, channels)
        if not self.Weights.size:
            drawn = initializers.initial_weights(self.WeightsInitializer, sizes, stride=self.Stride, rng=rng)
            changes["Weights"] = as_valid("Weights", _WEIGHTS, drawn)
        if not self.Bias.size:
            drawn = initializers.initial_bias(self.BiasInitializer, (1, self.NumFilters), rng=rng)
            changes["Bias"] = as_valid("Bias", _BIAS, drawn)
        if changes:
            self._assign(changes)

    def _plan(self, x: NDArray[Any], X: NDArray[Any], device: str) -> ConvTranspose1d:
        """Return the plan of the layer as it is. Where it could not serve `x`, nothing is drawn and nothing packed."""
        values, packed, channels = self._values, self._packed, x.shape[-2]
        if packed is not None and packed[0] is values and packed[1] == device and values["NumChannels"] == channels:
            return packed[2]
        self._check_length(x.shape[-1], X)
        self._initialize(channels, None)
        values = self._values
        weights, bias = values["Weights"].T, values["Bias"][0]
        plan = ConvTranspose1d(weights, bias, stride=values["Stride"], padding=self._padding(), device=device)
        self._packed = values, device, plan
        return plan

    def _padding(self) -> Padding:
        """Return the crop as the engine takes it."""
        return "same" if self.CroppingMode == "same" else self.CroppingSize

    def _check_length(self, length: int, X: NDArray[Any]) -> None:
        """Say in the layer's words what the plan would refuse in its own."""
        if length == 0:
            raise ValueError(f"X must have at least one sample to upsample; got the shape {X.shape}") from None
        if self.CroppingMode == "manual":
            shape = Geometry(length, self.FilterSize, self.Stride, 1, *self.CroppingSize, 0)
            if shape.output_length < 1:
                raise ValueError(
                    f"Cropping must leave at least one output sample; got {_display(self.CroppingSize)} for a full "
                    f"length of {shape.full_length}, from {length} samples"
                ) from None

    @classmethod
    def properties(cls) -> list[str]:
        """Return the names of all properties, in the documentation's order.

        Returns
        -------
        list of str
            The names.
        """
        return list(declarations(cls))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the layer to a file, a plain ``.npz``: all of it, or, on an error, none.

        Parameters
        ----------
        path : str or path-like
            The file, taken as it is; replaced if it exists.

        Raises
        ------
        OSError
            If the file cannot be written.
        ValueError
            If an initializer is a function, which no file can hold.
        """
        storage.write(path, self._options())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return the layer that `save` has written. Nothing in the file is executed.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        TransposedConvolution1DLayer
            A layer that equals the one that was saved.

        Raises
        ------
        OSError
            If the file cannot be opened.
        ValueError
            If the file is damaged, truncated, something else, or of a later version.
        """
        options = storage.read(path)
        others = sorted(set(options) ^ set(cls._option_names()))
        if others:
            raise ValueError(f"{path} is damaged: missing or unknown {', '.join(others)}")
        try:
            return cls._from_options(options)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error

    @classmethod
    def _option_names(cls) -> list[str]:
        return [*(name for name, item in declarations(cls).items() if item.access != "read"), "Cropping"]

    def _options(self) -> dict[str, Any]:
        """Return all that makes the layer what it is, under the names of its options."""
        values = {**self._values, "Cropping": self._padding()}
        return {name: values[name] for name in self._option_names()}

    @classmethod
    def _from_options(cls, options: dict[str, Any]) -> Self:
        others = {name: value for name, value in options.items() if name not in ("FilterSize", "NumFilters")}
        return cls(options["FilterSize"], options["NumFilters"], **others)

    def __copy__(self) -> Self:
        """Return a layer that shares the values and the plan: neither ever changes, an assignment makes others."""
        other = type(self).__new__(type(self))
        other._values, other._packed = self._values, self._packed
        return other

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], Self], tuple[dict[str, Any]]]:
        return self._from_options, (self._options(),)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, others = self._options(), other._options()
        return all(_equal(value, others[name]) for name, value in mine.items())

    def __repr__(self) -> str:
        lines = [f"  {type(self).__name__} with properties:"]
        for headline, names in _DISPLAY.items():
            lines += ["", f"   {headline}"] if headline else [""]
            lines += [f"{name:>16}: {_display(self._values[name])}" for name in names]
        return "\n".join([*lines, "", "  Use properties method to see a list of all properties."])


def _equal(a: Any, b: Any) -> bool:
    if not isinstance(a, np.ndarray):
        return bool(a == b)
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)


def _display(value: Any) -> str:
    """Return a value as MATLAB displays it."""
    if isinstance(value, np.ndarray):
        shape = value.shape[:2] if value.shape[2:] == (1,) else value.shape  # no third axis of size 1
        kind = {"float32": "single", "float64": "double"}[value.dtype.name]
        return f"[{'×'.join(map(str, shape))} {kind}]" if value.size else "[]"
    if isinstance(value, tuple):
        return f"[{' '.join(map(str, value))}]"
    return f"'{value}'" if isinstance(value, str) else str(value)


def transposedConv1dLayer(filterSize: int, numFilters: int, **options: Any) -> TransposedConvolution1DLayer:
    """Create a 1-D transposed convolution layer: MATLAB's `transposedConv1dLayer`.

    Parameters
    ----------
    filterSize : int
        Length of the filters; a positive integer of any numeric class.
    numFilters : int
        Number of filters, which is the number of channels of the output.
    **options
        Matched without regard to case:

        - ``Stride``, positive integer, 1: output step per input sample.
        - ``Cropping``, 0: how much to cut from the output. A non-negative integer cuts as much from both ends,
          ``(left, right)`` from either one, 'same' leaves ``length*Stride`` samples.
        - ``NumChannels``, positive integer, 'auto': channels of the input.
        - ``WeightsInitializer``, 'glorot': also 'he', 'narrow-normal', 'zeros', 'ones', a function
          ``weights = func(size)``, and 'icnr', which is not MATLAB's: all phases of a filter start equal.
        - ``BiasInitializer``, 'zeros': also 'narrow-normal', 'ones' or a function ``bias = func(size)``.
        - ``Weights``, FilterSize x NumFilters x NumChannels, float32 or float64; ``[]`` where not set.
        - ``Bias``, 1 x NumFilters; likewise.
        - ``WeightLearnRateFactor``, 1; ``BiasLearnRateFactor``, 1; ``WeightL2Factor``, 1; ``BiasL2Factor``, 0: finite
          and not negative.
        - ``Name``, '': a text.

    Returns
    -------
    TransposedConvolution1DLayer
        The layer.

    Raises
    ------
    TypeError, ValueError
        Naming the option, the rule and what was given; for an unknown option, the nearest one.

    References
    ----------
    MATLAB documentation, Deep Learning Toolbox, `transposedConv1dLayer` and `TransposedConvolution1DLayer`.

    Examples
    --------
    >>> from numba_tconv import transposedConv1dLayer
    >>> transposedConv1dLayer(11, 96, Stride=4)
      TransposedConvolution1DLayer with properties:
    <BLANKLINE>
                Name: ''
    <BLANKLINE>
       Hyperparameters
          FilterSize: 11
         NumChannels: 'auto'
          NumFilters: 96
              Stride: 4
        CroppingMode: 'manual'
        CroppingSize: [0 0]
    <BLANKLINE>
       Learnable Parameters
             Weights: []
                Bias: []
    <BLANKLINE>
      Use properties method to see a list of all properties.
    """
    return TransposedConvolution1DLayer(filterSize, numFilters, **options)


def properties(layer: TransposedConvolution1DLayer) -> list[str]:
    """Return the names of all properties of a layer, in the documentation's order.

    Parameters
    ----------
    layer : TransposedConvolution1DLayer
        The layer.

    Returns
    -------
    list of str
        The names.

    Examples
    --------
    >>> from numba_tconv import properties, transposedConv1dLayer
    >>> properties(transposedConv1dLayer(11, 96))[:3]
    ['FilterSize', 'NumFilters', 'Stride']
    """
    return layer.properties()
