"""Which machine serves a call: the CPU, or an NVIDIA GPU. The one room that knows of both."""

import os

DEVICES = ("auto", "cpu", "cuda")

# Read once: a look into the environment costs a microsecond, a tenth of a small call.
_DEFAULT = os.environ.get("NUMBA_TCONV_DEVICE", "auto")


def check_device(device: object) -> str:
    """Return the device that serves a call with `device`.

    For 'auto', the environment variable `NUMBA_TCONV_DEVICE` decides, as it was when the package was first used.

    Raises
    ------
    TypeError
        For what is not a name.
    ValueError
        For a name that is not a device.
    RuntimeError
        For 'cuda', which this version cannot serve.
    """
    if not isinstance(device, str):
        raise TypeError(f"device must be 'auto', 'cpu' or 'cuda'; got {device!r}")
    name, value = ("NUMBA_TCONV_DEVICE", _DEFAULT) if device == "auto" else ("device", device)
    if value not in DEVICES:
        raise ValueError(f"{name} must be 'auto', 'cpu' or 'cuda'; got {value!r}")
    if value == "cuda":
        raise RuntimeError(f"{name} 'cuda' is not available: this version of numba_tconv has no CUDA kernels yet")
    return "cpu"
