"""`numba_tconv.torch.ConvTranspose1d` against `torch.nn.ConvTranspose1d`, with the same numbers in both."""

import gc
import weakref

import pytest

torch = pytest.importorskip("torch", reason="numba_tconv.torch takes torch, extra [torch]")

import numba_tconv.torch as ours  # noqa: E402 after the skip

pytestmark = pytest.mark.peers
nn = torch.nn

# Constructor arguments; the first three are in_channels, out_channels, kernel_size.
MODULES = [
    ((4, 6, 5), {}),
    ((4, 6, 5), {"stride": 3, "padding": 2, "output_padding": 1, "groups": 2}),
    ((4, 4, 4), {"stride": 2, "padding": 1, "groups": 4, "bias": False}),
    ((3, 2, 3), {"stride": 2, "dilation": 3, "output_padding": 2, "padding": 1}),
    ((1, 1, 8), {"stride": 4, "bias": False}),
]
TOLERANCE = {torch.float16: 2e-3, torch.float32: 2e-5, torch.float64: 1e-12}
TOLERANCE |= {torch.complex64: 2e-5, torch.complex128: 1e-12}


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(20240607)


@pytest.fixture
def computed(monkeypatch):
    """Return the list of the shapes that our engine has computed."""
    shapes = []
    function = ours.conv_transpose1d

    def spy(x, *arguments, **options):
        shapes.append(x.shape)
        return function(x, *arguments, **options)

    monkeypatch.setattr(ours, "conv_transpose1d", spy)
    return shapes


def pair(sizes, options, dtype=torch.float32):
    """Return PyTorch's module and ours, with the same parameters."""
    peer = nn.ConvTranspose1d(*sizes, **options, dtype=dtype)
    module = ours.ConvTranspose1d(*sizes, **options, dtype=dtype)
    module.load_state_dict(peer.state_dict(), strict=True)
    return peer, module


def assert_close(a, b):
    assert a.dtype == b.dtype
    assert a.shape == b.shape
    magnitude = float(b.detach().abs().max()) if b.numel() else 0.0
    assert float((a.detach() - b.detach()).abs().max()) <= TOLERANCE[b.dtype] * max(magnitude, 1e-3)


# -- the same module -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sizes", "options"), MODULES)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("batch", [(), (3,)], ids=["unbatched", "batch"])
def test_forward_and_backward_as_torchs(sizes, options, dtype, batch, generator, computed):
    peer, module = pair(sizes, options, dtype)
    x = torch.randn(*batch, sizes[0], 7, dtype=dtype, generator=generator)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [m(z) for m, z in zip((peer, module), inputs, strict=True)]
    assert computed == [tuple(x.shape)]
    assert_close(outputs[1], outputs[0])
    seed = torch.randn(outputs[0].shape, dtype=dtype, generator=generator)
    for output in outputs:
        output.backward(seed)
    assert_close(inputs[1].grad, inputs[0].grad)
    for parameter, expected in zip(module.parameters(), peer.parameters(), strict=True):
        assert_close(parameter.grad, expected.grad)


def test_drop_in():
    arguments = (4, 6, 5, 3, 2, 1, 2, True, 1, "zeros", "cpu", torch.float64)
    module = ours.ConvTranspose1d(*arguments)
    peer = nn.ConvTranspose1d(*arguments)
    assert isinstance(module, nn.ConvTranspose1d)
    assert repr(module) == repr(peer)
    assert {name: value.shape for name, value in module.state_dict().items()} == {
        name: value.shape for name, value in peer.state_dict().items()
    }
    torch.manual_seed(0)
    first = ours.ConvTranspose1d(4, 6, 5).weight
    torch.manual_seed(0)
    assert torch.equal(first, nn.ConvTranspose1d(4, 6, 5).weight)


@pytest.mark.parametrize("size", [13, 14, 15, [14], [3, 6, 15]])
def test_output_size(size, generator, computed):
    peer, module = pair((4, 6, 5), {"stride": 3, "padding": 2})
    x = torch.randn(3, 4, 5, generator=generator)
    size = [size] if isinstance(size, int) else size
    assert_close(module(x, output_size=size), peer(x, output_size=size))
    assert module(x, output_size=size).shape[-1] == size[-1]
    assert computed


def test_output_size_out_of_reach():
    peer, module = pair((4, 6, 5), {"stride": 3})
    for m in (peer, module):
        with pytest.raises(ValueError, match="requested an output size of"):
            m(torch.ones(1, 4, 5), output_size=[30])


# -- gradients -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sizes", "options"), MODULES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_gradcheck(sizes, options, dtype, generator):
    module = ours.ConvTranspose1d(*sizes, **options, dtype=dtype)
    x = torch.randn(2, sizes[0], 4, dtype=dtype, generator=generator, requires_grad=True)
    names, parameters = zip(*module.named_parameters(), strict=True)

    def call(x, *parameters):
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *parameters), eps=1e-6, atol=1e-6)


def test_gradients_can_be_taken_once():
    module = ours.ConvTranspose1d(2, 3, 4, dtype=torch.float64)
    x = torch.ones(1, 2, 5, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(module(x).pow(2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        gradient.sum().backward()


@pytest.mark.parametrize("needed", ["x", "weight", "bias"])
def test_nothing_is_computed_that_is_not_needed(needed, monkeypatch):
    asked = []
    function = ours.conv_transpose1d_backward

    def spy(*arguments, wrt, **options):
        asked.append(list(wrt))
        return function(*arguments, wrt=wrt, **options)

    monkeypatch.setattr(ours, "conv_transpose1d_backward", spy)
    module = ours.ConvTranspose1d(2, 3, 4)
    x = torch.ones(1, 2, 5, requires_grad=needed == "x")
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name == needed)
    module(x).sum().backward()
    assert asked == [[needed]]
    assert (x.grad is None) == (needed != "x")


def test_inference_keeps_nothing():
    module = ours.ConvTranspose1d(2, 3, 4)
    with torch.no_grad():
        assert module(torch.ones(1, 2, 5)).grad_fn is None
    with torch.inference_mode():
        assert module(torch.ones(1, 2, 5)).is_inference()


# -- memory --------------------------------------------------------------------------------------------------------


def test_arrays_are_views_of_tensors_and_results_of_arrays(monkeypatch):
    seen = {}
    function = ours.conv_transpose1d

    def spy(x, weight, bias, **options):
        seen.update(x=x, weight=weight, bias=bias, y=function(x, weight, bias, **options))
        return seen["y"]

    monkeypatch.setattr(ours, "conv_transpose1d", spy)
    module = ours.ConvTranspose1d(4, 6, 5, stride=2)
    base = torch.randn(3, 9, 4)
    x = base[:, 1:8].transpose(1, 2)
    y = module(x)
    for tensor, name in ((x, "x"), (module.weight, "weight"), (module.bias, "bias"), (y, "y")):
        assert tensor.data_ptr() == seen[name].__array_interface__["data"][0]
        assert tuple(step * tensor.element_size() for step in tensor.stride()) == seen[name].strides


def test_odd_memory(generator):
    """Steps, broadcasts, conjugates and negatives that were never written down."""
    peer, module = pair((4, 6, 5), {"stride": 2}, torch.complex64)
    base = torch.randn(3, 4, 14, dtype=torch.complex64, generator=generator)
    for x in (base[..., ::2], base[:1].expand(3, 4, 14), base.conj(), base[..., 1:].conj().transpose(0, 0)):
        assert_close(module(x), peer(x))
    real_peer, real_module = pair((4, 6, 5), {"stride": 2})
    x = base.conj().imag  # has the negative bit
    assert x.is_neg()
    assert_close(real_module(x), real_peer(x))
    y = [m(base.real) for m in (real_peer, real_module)]
    for output in y:
        output.sum().backward()  # a gradient without memory of its own
    assert_close(real_module.weight.grad, real_peer.weight.grad)


def test_a_tensor_keeps_its_array_alive_and_nothing_else_does(monkeypatch):
    alive = []
    function = ours.conv_transpose1d

    def spy(*arguments, **options):
        result = function(*arguments, **options)
        alive.append(weakref.ref(result))
        return result

    monkeypatch.setattr(ours, "conv_transpose1d", spy)
    y = ours.ConvTranspose1d(1, 1, 2)(torch.ones(1, 1, 50_000))
    gc.collect()
    assert alive[0]() is not None
    del y
    gc.collect()
    assert alive[0]() is None


# -- left to PyTorch -----------------------------------------------------------------------------------------------


def test_other_dtypes_and_devices_are_torchs(computed):
    module = ours.ConvTranspose1d(2, 3, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert module(torch.ones(1, 2, 5)).dtype == torch.bfloat16
    assert ours.ConvTranspose1d(2, 3, 4, dtype=torch.bfloat16)(torch.ones(1, 2, 5).bfloat16()).dtype == torch.bfloat16
    assert ours.ConvTranspose1d(2, 3, 4, device="meta")(torch.ones(1, 2, 5, device="meta")).shape == (1, 3, 8)
    assert ours.ConvTranspose1d(2, 3, 4)(torch.ones(0, 2, 5)).shape == (0, 3, 8)
    assert computed == []


@pytest.mark.parametrize(
    "x",
    [torch.ones(1, 3, 5), torch.ones(4), torch.ones(1, 2, 0), torch.ones(1, 1, 2, 5), torch.ones(1, 2, 5).double()],
    ids=["channels", "axes", "empty", "too many axes", "dtype"],
)
def test_errors_are_torchs(x):
    messages = []
    for module in pair((2, 3, 4), {}):
        with pytest.raises(RuntimeError) as caught:
            module(x)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_transformations_and_programs_are_torchs(computed, generator):
    peer, module = pair((2, 3, 4), {"stride": 2})
    x = torch.randn(5, 1, 2, 6, generator=generator)
    assert_close(torch.func.vmap(module)(x), torch.func.vmap(peer)(x))
    gradients = [torch.func.grad(lambda z, m=m: m(z).pow(2).sum())(x[0]) for m in (module, peer)]
    assert_close(*gradients)
    assert_close(torch.compile(module, backend="eager")(x[0]), peer(x[0]))
    assert_close(torch.export.export(module, (x[0],)).module()(x[1]), peer(x[1]))
    assert computed == []


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_tracing_is_torchs(computed, generator):
    peer, module = pair((2, 3, 4), {"stride": 2})
    x = torch.randn(5, 1, 2, 6, generator=generator)
    traced = torch.jit.trace(module, x[0], check_trace=False)
    assert_close(traced(x[1]), peer(x[1]))
    assert computed == []


# -- HiFi-GAN V1 ---------------------------------------------------------------------------------------------------


def vocoder(convolution):
    """Return the upsampling layers of HiFi-GAN V1's generator: `models.py` of github.com/jik876/hifi-gan."""
    layers, channels = [], 512
    for rate, kernel in ((8, 16), (8, 16), (2, 4), (2, 4)):
        layer = convolution(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
        layers += [nn.LeakyReLU(0.1), nn.utils.parametrizations.weight_norm(layer)]
        channels //= 2
    return nn.Sequential(*layers)


def test_vocoder(generator, computed):
    """Four layers with weight normalization: 512 channels at 86 frames a second become 32 at 22050 samples."""
    peer, module = vocoder(nn.ConvTranspose1d), vocoder(ours.ConvTranspose1d)
    module.load_state_dict(peer.state_dict(), strict=True)
    # In double: for one choice of weights in 25, PyTorch's own gradients in float32 are farther off than is allowed.
    peer = peer.double()
    x = torch.randn(2, 512, 8, generator=generator)
    inputs = [x.to(dtype, copy=True).requires_grad_() for dtype in (torch.float64, torch.float32)]
    outputs = [m(z) for m, z in zip((peer, module), inputs, strict=True)]
    assert computed == [(2, 512, 8), (2, 256, 64), (2, 128, 512), (2, 64, 1024)]
    assert outputs[1].shape == (2, 32, 2048)
    assert_close(outputs[1], outputs[0].float())
    for output in outputs:
        output.pow(2).mean().backward()
    assert_close(inputs[1].grad, inputs[0].grad.float())
    for (name, parameter), expected in zip(module.named_parameters(), peer.parameters(), strict=True):
        assert parameter.grad is not None, name
        assert_close(parameter.grad, expected.grad.float())


def test_a_step_of_an_optimizer_reaches_the_next_call(generator):
    """Weights are read where they lie, in every call."""
    peer, module = pair((4, 6, 5), {"stride": 2})
    x = torch.randn(3, 4, 7, generator=generator)
    for m in (peer, module):
        optimizer = torch.optim.SGD(m.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            m(x).pow(2).mean().backward()
            optimizer.step()
    assert_close(module(x), peer(x))
