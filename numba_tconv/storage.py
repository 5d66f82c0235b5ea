"""The file that a layer is kept in: a plain `.npz` of its options, with the kind of file and a version.

Here belongs how names and values become bytes and back. What they mean is the layer's business. Nothing is pickled,
and nothing that is read is ever executed.
"""

import io
import os
import secrets
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

KIND = "numba_tconv.TransposedConvolution1DLayer"
VERSION = 1


def write(path: str | os.PathLike[str], values: Mapping[str, Any]) -> None:
    """Write numbers, texts and arrays to a file: all of it, or none.

    Parameters
    ----------
    path : str or path-like
        The file; replaced if it exists.
    values : mapping
        What to write.

    Raises
    ------
    OSError
        If the file cannot be written.
    ValueError
        For a value that would not be read as it is, such as a function.
    """
    path = Path(path)
    contents = {"kind": KIND, "version": VERSION, **values}
    for name, value in contents.items():
        array = np.asarray(value)
        if array.dtype.hasobject or (array.ndim == 0 and array.item() != value):  # a text loses NULs at its end
            raise ValueError(f"{name} is {value!r}, which a file cannot hold")
    # Beside the file, because only there can a rename replace it in one step.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            np.savez(file, **contents)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what `write` has written.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    dict
        Numbers and texts as Python's own, arrays as arrays.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If it is damaged, truncated, something else, or of a later version.
    """
    data = Path(path).read_bytes()
    try:
        contents = _unpacked(data)
    except Exception as error:  # whatever a parser makes of foreign bytes
        raise ValueError(f"{path} is no saved layer, or is damaged: {error}") from error
    if contents.pop("kind", None) != KIND:
        raise ValueError(f"{path} is no saved layer")
    version = contents.pop("version", None)
    if version != VERSION:
        raise ValueError(f"{path} has the version {version!r}; this package reads version {VERSION}")
    return contents


def _unpacked(data: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        # `write` compresses nothing: a member larger than its file would only be there to fill the memory.
        if sum(member.file_size for member in archive.infolist()) > len(data):
            raise ValueError("it claims to hold more than its size")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: array if array.ndim else array.item() for name, array in arrays.items()}
