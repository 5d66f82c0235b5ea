"""For people who live in PyTorch: its `nn.ConvTranspose1d`, computed by this package where it can be.

Here belongs how tensors reach the engine and come back, and when PyTorch does the work itself. The module is a
subclass: constructor, parameters, initialization and state_dict are PyTorch's.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from numba_tconv.functional import conv_transpose1d
from numba_tconv.gradients import EVERYTHING, conv_transpose1d_backward

DTYPES = (torch.float16, torch.float32, torch.float64, torch.complex64, torch.complex128)


class ConvTranspose1d(torch.nn.ConvTranspose1d):
    """A drop-in `torch.nn.ConvTranspose1d` whose forward and backward run on this package's engine.

    Tensors on the CPU of float16, float32, float64, complex64 or complex128 are computed here, on the threads of
    Numba, without copies: arrays are views of tensors, and results are tensors on the arrays' memory. All else is left
    to PyTorch, as if this were its own module: other devices and dtypes, autocast, `torch.compile`, tracing and export,
    transformations of `torch.func`, and inputs that do not fit, for which PyTorch has its errors.

    Gradients are deterministic. They can be taken once: a second derivative is a RuntimeError.

    Constructor, parameters, initialization and state_dict are those of `torch.nn.ConvTranspose1d`.

    Examples
    --------
    >>> import torch
    >>> from numba_tconv.torch import ConvTranspose1d
    >>> module = ConvTranspose1d(64, 96, 11, stride=4)
    >>> module.load_state_dict(torch.nn.ConvTranspose1d(64, 96, 11, stride=4).state_dict())
    <All keys matched successfully>
    >>> module(torch.ones(16, 64, 256)).shape
    torch.Size([16, 96, 1031])
    """

    def forward(self, input: Any, output_size: Any = None) -> Any:
        """Return the transposed convolution of `input`.

        Parameters
        ----------
        input : torch.Tensor, (batch, in_channels, length) or (in_channels, length)
            Signals.
        output_size : list of int, optional
            The length of the output where the stride leaves a choice, as of `torch.nn.ConvTranspose1d`.

        Returns
        -------
        torch.Tensor, (batch, out_channels, output_length) or (out_channels, output_length)
            The output.
        """
        tensors = [tensor for tensor in (input, self.weight, self.bias) if tensor is not None]
        if not (_computed_here(tensors) and input.shape[-2:-1] == (self.in_channels,) and 0 not in input.shape):
            return super().forward(input, output_size)
        output_padding = self._output_padding(
            input, output_size, self.stride, self.padding, self.kernel_size, 1, self.dilation
        )
        options = {
            "stride": self.stride[0],
            "padding": self.padding[0],
            "output_padding": output_padding[0],
            "groups": self.groups,
            "dilation": self.dilation[0],
        }
        return _ConvTranspose1d.apply(input, self.weight, self.bias, options)


def _computed_here(tensors: list[Any]) -> bool:
    """Whether PyTorch wants a result, not a program, of tensors that are plain memory of one dtype."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.is_autocast_enabled("cpu"):
        return False
    dtype = tensors[0].dtype
    # Fake tensors and the like hold no numbers, nor do those that functorch wraps: there is no public way to ask.
    is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    return (
        dtype in DTYPES
        and tensors[0].ndim in (2, 3)
        and all(
            type(tensor) in (torch.Tensor, torch.nn.Parameter)
            and tensor.device.type == "cpu"
            and tensor.layout == torch.strided
            and tensor.dtype == dtype
            and not is_wrapped(tensor)
            for tensor in tensors
        )
    )


def _array(tensor: Any) -> Any:
    """Return a view of a tensor's memory; a lazily conjugated or negated one is computed first."""
    return tensor.detach().resolve_conj().resolve_neg().numpy()


class _ConvTranspose1d(torch.autograd.Function):
    """The operator and its gradients, once differentiable."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, options: dict[str, Any]) -> Any:
        """Return the output, and keep what the gradients take."""
        ctx.save_for_backward(x, weight)
        ctx.options = options
        bias = None if bias is None else _array(bias)
        return torch.from_numpy(conv_transpose1d(_array(x), _array(weight), bias, **options))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Any) -> tuple[Any, ...]:
        """Return the gradients that are needed."""
        arrays = (_array(tensor) for tensor in (grad_output, *ctx.saved_tensors))
        wanted = [name for name, needed in zip(EVERYTHING, ctx.needs_input_grad, strict=False) if needed]
        gradients = conv_transpose1d_backward(*arrays, **ctx.options, wrt=wanted)
        return *(None if gradient is None else torch.from_numpy(gradient) for gradient in gradients), None
