"""Which machine serves a call: the CPU, or an NVIDIA GPU. The one room that knows of both."""

import os

DEVICES = ("auto", "cpu", "cuda")


def check_device(device: object) -> str:
    """Return the device that serves a call with `device`; `NUMBA_TCONV_DEVICE` stands in for 'auto'.

    Raises
    ------
    ValueError
        For a name that is not a device.
    RuntimeError
        For 'cuda', which this version cannot serve.
    """
    source, value = "device", device
    if value == "auto":
        value = os.environ.get("NUMBA_TCONV_DEVICE", "auto")
        source = "device" if value == "auto" else "NUMBA_TCONV_DEVICE"
    if not isinstance(value, str) or value not in DEVICES:
        raise ValueError(f"{source} must be 'auto', 'cpu' or 'cuda'; got {value!r}")
    if value == "cuda":
        raise RuntimeError(f"{source} 'cuda' is not available: this version of numba_tconv has no CUDA kernels yet")
    return "cpu"
