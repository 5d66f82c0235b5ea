"""The file of a layer: what it holds, and that no damage to it goes unseen or does harm."""

import os
import re
import zipfile

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from numba_tconv import TransposedConvolution1DLayer, storage, transposedConv1dLayer

load = TransposedConvolution1DLayer.load


@pytest.fixture
def layer():
    return transposedConv1dLayer(3, 2, Stride=2, Cropping=(1, 0), Name="µ", BiasL2Factor=0.1).initialize(2, rng=1)


@pytest.fixture
def path(layer, tmp_path):
    layer.save(tmp_path / "layer.npz")
    return tmp_path / "layer.npz"


def contents(path):
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def test_the_file_is_a_plain_npz(layer, path):
    arrays = contents(path)
    assert arrays["kind"] == "numba_tconv.TransposedConvolution1DLayer"
    assert arrays["version"] == 1
    assert_array_equal(arrays["Weights"], layer.Weights, strict=True)
    assert_array_equal(arrays["Cropping"], [1, 0])
    assert set(arrays) == {"kind", "version", "Cropping", *layer.properties()} - {
        *("CroppingMode", "CroppingSize", "NumInputs", "InputNames", "NumOutputs", "OutputNames")
    }


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"Cropping": "same"},
        {"NumChannels": 7},
        {"Weights": np.ones((3, 2, 4)), "Bias": np.ones(2)},
        {"Name": "a 'name' of \n two lines ☃"},
        {"WeightL2Factor": 1e-300, "BiasLearnRateFactor": 1 / 3},
    ],
    ids=lambda options: next(iter(options), "default"),
)
@pytest.mark.parametrize("as_path", [str, lambda path: path])
def test_round_trip(options, as_path, tmp_path):
    layer = transposedConv1dLayer(3, 2, **options)
    layer.save(as_path(tmp_path / "name without suffix"))
    assert load(as_path(tmp_path / "name without suffix")) == layer
    assert os.listdir(tmp_path) == ["name without suffix"]


def test_save_replaces(layer, path):
    layer.Stride = 3
    layer.save(path)
    assert load(path).Stride == 3


@pytest.mark.parametrize(("name", "value"), [("WeightsInitializer", np.ones), ("Name", "ends in NUL\0")])
def test_what_a_file_cannot_hold(name, value, layer, path):
    before = path.read_bytes()
    setattr(layer, name, value)
    with pytest.raises(ValueError, match=f"^{name} is {re.escape(repr(value))}, which a file cannot hold$"):
        layer.save(path)
    assert path.read_bytes() == before
    assert len(os.listdir(path.parent)) == 1


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(layer, path, monkeypatch):
    before = path.read_bytes()

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        layer.save(path)
    assert path.read_bytes() == before
    assert len(os.listdir(path.parent)) == 1


def test_folders_and_files_that_are_not_there(layer, tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError):
        layer.save(tmp_path / "none" / "layer.npz")
    with pytest.raises(OSError, match=re.escape(str(tmp_path))):
        load(tmp_path)


def test_every_truncation_is_seen(path):
    data = path.read_bytes()
    for size in range(0, len(data), 23):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=rf"{re.escape(str(path))} is no saved layer, or is damaged: "):
            load(path)


def test_no_flipped_byte_goes_unseen(layer, path):
    """Some bytes mean nothing, such as the time in a ZIP header: the layer is then what it was."""
    data = path.read_bytes()
    refused = 0
    for place in range(0, len(data), 3):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x15]) + data[place + 1 :])
        try:
            assert load(path) == layer
        except ValueError as error:
            refused += 1
            assert str(error).startswith(str(path))  # noqa: PT017 either outcome is right
    assert refused > 500


@pytest.mark.parametrize("data", [b"", b"\0" * 1000, b"PK\x05\x06" + b"\0" * 18, b"layer", b"\x80\x04N."])
def test_foreign_bytes(data, path):
    path.write_bytes(data)
    with pytest.raises(ValueError, match="is no saved layer"):
        load(path)


def test_foreign_npz(path):
    np.savez(path, x=np.ones(3))
    with pytest.raises(ValueError, match=r"is no saved layer$"):
        load(path)
    np.save(path, np.ones(3))
    with pytest.raises(ValueError, match="is no saved layer"):
        load(path.with_suffix(".npz"))


def test_a_later_version(path):
    np.savez(path, **contents(path) | {"version": 2})
    with pytest.raises(ValueError, match=r"has the version 2; this package reads version 1$"):
        load(path)


CHANGES = {
    "an option more": {"Dilation": 2},
    "bad value": {"Stride": 0},
    "bad type": {"Stride": "2"},
    "nan": {"BiasL2Factor": np.nan},
    "does not fit": {"Weights": np.ones((3, 2, 5))},
    "array for a number": {"Stride": np.array([1, 2])},
    "bad crop": {"Cropping": np.array([-1, 0])},
    "a name twice": {"stride": 2},
}


@pytest.mark.parametrize("change", CHANGES)
def test_contents_that_are_no_layer(change, path):
    np.savez(path, **contents(path) | CHANGES[change])
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} is damaged: .*{next(iter(CHANGES[change]))}"):
        load(path)


@pytest.mark.parametrize("name", ["FilterSize", "Stride", "Bias", "Cropping"])
def test_contents_without_an_option(name, path):
    arrays = contents(path)
    del arrays[name]
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=f"is damaged: missing or unknown {name}$"):
        load(path)


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("name", ["Weights", "Name", "kind", "version", "other"])
def test_nothing_is_executed(name, path):
    folder = path.with_name("executed")
    np.savez(path, **contents(path) | {name: np.array(Evil(folder), object)})
    with pytest.raises(ValueError, match="is damaged: Object arrays cannot be loaded"):
        load(path)
    assert not folder.exists()
    with np.load(path, allow_pickle=True) as arrays:
        arrays[name]
    assert folder.exists()  # so the file was as bad as it should be


def test_a_member_larger_than_its_file_is_not_read(path, monkeypatch):
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.npy", bytes(1 << 20))
    monkeypatch.setattr(storage.np, "load", None)
    with pytest.raises(ValueError, match="claims to hold more than its size"):
        load(path)
