"""The weights in a model file are plain arrays whose bytes are there."""

import io

import h5py
import numpy as np
import pytest
from forging import forge_model, layer, members, stacked, weights_file

from kerasdl.bundles.format.model_file import load_model_file
from kerasdl.core.errors import BundleError

BIG = 10**8


def kernel(file):
    return file["layers/dense/vars"]


def as_objects(file):
    values = kernel(file)["0"][()].astype(str).astype(object)
    del kernel(file)["0"]
    kernel(file).create_dataset("0", data=values, dtype=h5py.string_dtype())


def as_opaque(file):
    del kernel(file)["0"]
    kernel(file)["0"] = np.array([np.void(b"cos\nsystem\n(S'id'\ntR.")])


def replaced(make):
    def change(file):
        values = kernel(file)["0"][()]
        del kernel(file)["0"]
        make(kernel(file), values)

    return change


def virtually(group, values):
    layout = h5py.VirtualLayout(values.shape, "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", values.shape)
    group.create_virtual_dataset("0", layout)


def deeply(file):
    group = file
    for _ in range(40):
        group = group.create_group("g")


def in_a_ring(file):
    file["layers/ring"] = file["layers"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (as_objects, "arrays of numbers"),
        (as_opaque, "arrays of numbers"),
        (replaced(lambda group, values: group.__setitem__("0", h5py.SoftLink("/layers/dense/vars/1"))), "no links"),
        (replaced(lambda group, values: group.__setitem__("0", h5py.ExternalLink("/etc/x.h5", "/a"))), "no links"),
        (replaced(virtually), "plain"),
        (
            replaced(
                lambda group, values: group.create_dataset(
                    "0", values.shape, "f4", external=[("/etc/hostname", 0, 400)]
                )
            ),
            "plain",
        ),
        (replaced(lambda group, values: group.create_dataset("0", data=values, compression="gzip")), "plain"),
        (replaced(lambda group, values: group.create_dataset("0", (2**40,), "f4", chunks=(2**20,))), "plain"),
        (replaced(lambda group, values: group.create_dataset("0", (2**40,), "f4")), "stored whole"),
        (replaced(lambda group, values: group.create_dataset("0", values.shape, "f4")), "stored whole"),
        (replaced(lambda group, values: group.create_dataset("0", data=values.T)), "must be those of the model"),
        (replaced(lambda group, values: None), "must be those of the model"),
        (lambda file: file.__setitem__("layers/dense/vars/2", np.zeros(3, "f4")), "must be those of the model"),
        (deeply, "groups deep"),
        (in_a_ring, "groups deep"),
    ],
)
def test_weights_are_plain_arrays_that_are_there(change, said, honest, refused):
    buffer = io.BytesIO(members(honest)["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        change(file)
    refused(forge_model(honest, weights=buffer.getvalue()), said)


def test_arrays_that_share_their_bytes_count_each(honest, refused):
    """Hard links to one array would make a large model of a small file."""
    wide = stacked((1000,), *[layer("Dense", units=1000, use_bias=False, name=f"dense{number}") for number in range(5)])

    def share(file):
        for number in range(1, 5):
            file[f"layers/dense_{number}/vars/0"] = file["layers/dense/vars/0"]

    weights = weights_file({"layers/dense/vars/0": np.random.default_rng(0).random((1000, 1000), "f4")}, share)
    refused(forge_model(honest, wide, weights), "every byte")


def test_weights_under_other_names_are_refused(honest, tmp_path):
    """Right shapes in the wrong places: no layer may be left as it was initialised."""
    arrays = []
    with h5py.File(io.BytesIO(members(honest)["model.weights.h5"])) as file:
        file.visititems(lambda name, entry: arrays.append(entry[()]) if isinstance(entry, h5py.Dataset) else None)
    path = tmp_path / "forged.keras"
    moved = {f"elsewhere/vars/{number}": value for number, value in enumerate(arrays)}
    path.write_bytes(forge_model(honest, weights=weights_file(moved)))
    with pytest.raises(BundleError, match="damaged or hostile"):
        load_model_file(path)
