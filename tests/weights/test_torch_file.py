"""PyTorch checkpoints read without PyTorch: sound ones give their tensors, hostile ones are refused and run nothing."""

import collections
import io
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
import pytest

import kerasdl
from kerasdl.core import ArgumentError, WeightsError
from kerasdl.weights import torch_file

KINDS = {"f4": "FloatStorage", "f2": "HalfStorage", "f8": "DoubleStorage", "i8": "LongStorage", "u2": "BFloat16Storage"}


class Named:
    """Stands for a class or function that a checkpoint names."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Stands for what a checkpoint builds by a call."""

    def __init__(self, module, name, *arguments):
        self.named, self.arguments = (module, name), arguments


class Tensor:
    """Numbers with a name of storage, an offset and strides, all in numbers."""

    def __init__(self, numbers, key, offset=0, shape=None, strides=None, count=None):
        self.numbers, self.key = np.array(numbers, order="C"), key
        self.shape = tuple(np.shape(numbers)) if shape is None else shape
        steps = [stride // self.numbers.itemsize for stride in self.numbers.strides]
        self.strides, self.offset = tuple(steps) if strides is None else strides, offset
        self.count = self.numbers.size if count is None else count

    @property
    def kind(self):
        return KINDS[self.numbers.dtype.str[1:]]


def tree(tensor):
    storage = ("storage", Named("torch", tensor.kind), tensor.key, "cpu", tensor.count)
    hooks = collections.OrderedDict()
    return Call(
        "torch._utils", "_rebuild_tensor_v2", Stored(storage), tensor.offset, tensor.shape, tensor.strides, False, hooks
    )


class Stored:
    """A storage, which a pickle keeps outside itself."""

    def __init__(self, record):
        self.record = record


class Pickler(pickle._Pickler):
    """Writes names that cannot be imported here, as PyTorch's own pickles have them."""

    def persistent_id(self, value):
        return tuple(value.record) if isinstance(value, Stored) else None

    def save(self, value, save_persistent_id=True):
        if isinstance(value, Tensor):
            value = tree(value)
        if isinstance(value, Named):
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Call):
            self.save(Named(*value.named))
            self.save(value.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)


def pickled(value):
    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(value)
    return buffer.getvalue()


def tensors_in(state):
    if isinstance(state, Tensor):
        return [state]
    return [found for value in state.values() for found in tensors_in(value)] if isinstance(state, dict) else []


def zipped(path, state, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("net/data.pkl", pickled(state))
        archive.writestr("net/byteorder", "little")
        for tensor in tensors_in(state):
            archive.writestr(f"net/data/{tensor.key}", tensor.numbers.tobytes())
    return path


def in_a_row(path, state):
    heads = (torch_file.MAGIC, torch_file.PROTOCOL, {"little_endian": True}, state)
    tensors = tensors_in(state)
    content = b"".join(map(pickled, heads)) + pickled([tensor.key for tensor in tensors])
    for tensor in tensors:
        content += struct.pack("<q", tensor.numbers.size) + tensor.numbers.tobytes()
    path.write_bytes(content)
    return path


FORMS = {"zip": zipped, "row": in_a_row}
RNG = np.random.default_rng(0)
WHOLE = RNG.normal(size=(4, 3)).astype("float32")


@pytest.mark.parametrize("form", FORMS)
def test_tensors_of_every_dtype_and_layout(form, tmp_path):
    state = {
        "whole": Tensor(WHOLE, "0"),
        "turned": Tensor(WHOLE, "1", shape=(3, 4), strides=(1, 3)),
        "part": Tensor(WHOLE, "2", offset=4, shape=(2,), strides=(3,)),
        "half": Tensor(WHOLE.astype("float16"), "3"),
        "double": Tensor(WHOLE.astype("float64"), "4"),
        "short": Tensor((WHOLE.view("uint32") >> 16).astype("uint16"), "5"),
        "count": Tensor(np.int64(7), "6"),
        "none": Tensor(np.zeros((0, 3), "float32"), "7"),
    }
    found = torch_file.read(FORMS[form](tmp_path / "net.pth", state))
    assert list(found) == list(state)
    np.testing.assert_array_equal(found["whole"], WHOLE)
    np.testing.assert_array_equal(found["turned"], WHOLE.T)
    np.testing.assert_array_equal(found["part"], WHOLE.ravel()[[4, 7]])
    np.testing.assert_allclose(found["half"], WHOLE, rtol=2**-10)
    np.testing.assert_allclose(found["double"], WHOLE, rtol=1e-7)
    np.testing.assert_allclose(found["short"], WHOLE, rtol=2**-7)
    assert {found[name].dtype.name for name in ("half", "double", "short")} == {"float32"}
    assert found["count"] == 7
    assert found["none"].shape == (0, 3)


@pytest.mark.parametrize("form", FORMS)
def test_the_network_inside_a_larger_record(form, tmp_path):
    record = {"epoch": 3, "best": 0.5, "state_dict": collections.OrderedDict(weight=Tensor(WHOLE, "0"))}
    found = torch_file.read(FORMS[form](tmp_path / "net.pt", record))
    np.testing.assert_array_equal(found["weight"], WHOLE)


def test_two_networks_in_one_file_are_refused(tmp_path):
    path = zipped(tmp_path / "gan.pth", {"g": {"w": Tensor(WHOLE, "0")}, "d": {"w": Tensor(WHOLE, "1")}})
    with pytest.raises(WeightsError, match="one network; it holds 2"):
        torch_file.read(path)


HOSTILE = {
    "a call of the system": ({"x": Call("os", "system", "touch ran")}, r"os\.system"),
    "a built-in": ({"x": Call("builtins", "eval", "1")}, r"builtins\.eval"),
    "a whole model": ({"x": Named("torch.nn.modules.linear", "Linear")}, r"state_dict\(\)"),
    "a tensor past its storage": ({"x": Tensor(WHOLE, "0", offset=9, shape=(4,), strides=(1,))}, "inside their"),
    "strides past the storage": ({"x": Tensor(WHOLE, "0", shape=(4, 3), strides=(30, 1))}, "inside their storages"),
    "one number a billion times": ({"x": Tensor(WHOLE, "0", shape=(10**9,), strides=(0,))}, "inside their storages"),
    "negative strides": ({"x": Tensor(WHOLE, "0", offset=11, shape=(12,), strides=(-1,))}, "whole offsets"),
    "sizes that are no numbers": ({"x": Tensor(WHOLE, "0", shape=(2.5,), strides=(1,))}, "whole offsets"),
    "a longer storage than its bytes": ({"x": Tensor(WHOLE, "0", shape=(99,), strides=(1,), count=99)}, "99 numbers"),
    "no tensor": ({"x": 3}, "one network; it holds 0"),
    "a number": (3, "one network; it holds 0"),
    "a tensor of nothing": ({"x": Call("torch._utils", "_rebuild_tensor_v2", "0", 0, (1,), (1,))}, "from a storage"),
    "a storage without a dtype": (
        {"x": Call("torch._utils", "_rebuild_tensor_v2", Stored(("storage", 1, "0", "cpu", 1)), 0, (1,), (1,))},
        "each storage by dtype",
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_and_run_nothing(case, form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state, told = HOSTILE[case]
    with pytest.raises(WeightsError, match=told):
        torch_file.read(FORMS[form](tmp_path / "net.pth", state))
    assert [path.name for path in tmp_path.iterdir()] == ["net.pth"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_files_cut_short_are_refused(form, share, tmp_path):
    path = FORMS[form](tmp_path / "net.pth", {"w": Tensor(WHOLE, "0")})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(WeightsError, match=r"net\.pth"):
        torch_file.read(path)


def test_packed_zips_are_refused(tmp_path):
    path = zipped(tmp_path / "net.pth", {"w": Tensor(np.zeros((999, 999), "float32"), "0")}, zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="stored as it is"):
        torch_file.read(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(WeightsError, match=r"nothing is at .*none\.pth"):
        torch_file.read(tmp_path / "none.pth")


LITE = dict(image_shape=(32, 32, 3), stages=((1, 16, 1, 1, 3), (6, 24, 2, 2, 5)), last_channels=32, classes=5)


def lite_state():
    """Returns the state of a small EfficientNet-Lite as its authors' PyTorch form names it, with random numbers."""
    rng = np.random.default_rng(1)
    convolutions = {"_conv_stem": (32, 3, 3, 3), "_conv_head": (32, 24, 1, 1)}
    norms = {"_bn0": 32, "_bn1": 32}
    channels = 32
    for block, (expansion, filters, kernel) in enumerate([(1, 16, 3), (6, 24, 5), (6, 24, 5)]):
        start, wide = f"_blocks.{block}", channels * expansion
        if expansion > 1:
            convolutions[f"{start}._expand_conv"], norms[f"{start}._bn0"] = (wide, channels, 1, 1), wide
        convolutions[f"{start}._depthwise_conv"], norms[f"{start}._bn1"] = (wide, 1, kernel, kernel), wide
        convolutions[f"{start}._project_conv"], norms[f"{start}._bn2"] = (filters, wide, 1, 1), filters
        channels = filters
    shapes = {f"{name}.weight": shape for name, shape in convolutions.items()}
    parts = ("weight", "bias", "running_mean", "running_var")
    shapes |= {f"{name}.{part}": (size,) for name, size in norms.items() for part in parts}
    shapes |= {"_fc.weight": (5, 32), "_fc.bias": (5,)}
    return {name: rng.uniform(0.5, 1.5, shape).astype("float32") for name, shape in shapes.items()}


def test_every_tensor_of_an_efficientnet_lite_reaches_its_place(tmp_path):
    state = lite_state()
    path = in_a_row(tmp_path / "lite.pth", {name: Tensor(array, name) for name, array in state.items()})
    model = kerasdl.build("efficientnet_lite0", **LITE)
    report = kerasdl.import_weights(model, path)
    assert report.head
    assert report.numbers == model.count_params() == sum(array.size for array in state.values())
    depthwise = model.get_layer("stage2_block1_depthwise_conv").kernel.numpy()
    np.testing.assert_array_equal(depthwise[1, 2, :, 0], state["_blocks.1._depthwise_conv.weight"][:, 0, 1, 2])
    norm = model.get_layer("stage2_block2_project_bn")
    np.testing.assert_array_equal(norm.moving_variance, state["_blocks.2._bn2.running_var"])


def test_a_checkpoint_of_no_known_net_is_refused(tmp_path):
    path = zipped(tmp_path / "net.pth", {"layer.weight": Tensor(WHOLE, "0")})
    with pytest.raises(ArgumentError, match="_blocks"):
        kerasdl.import_weights(kerasdl.build("efficientnet_lite0", **LITE), path)


@pytest.mark.parametrize("zipped_form", [True, False])
def test_files_of_pytorch_itself(zipped_form, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is needed to write its own files")
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2).half())
    torch.save(net.state_dict(), tmp_path / "net.pth", _use_new_zipfile_serialization=zipped_form)
    found = torch_file.read(tmp_path / "net.pth")
    expected = net.state_dict()
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor.float().numpy())


def test_nothing_named_torch_is_imported(tmp_path, monkeypatch):
    fake = types.ModuleType("torch")
    fake.__getattr__ = lambda name: pytest.fail(f"torch.{name} was asked for")
    monkeypatch.setitem(sys.modules, "torch", fake)
    assert set(torch_file.read(zipped(tmp_path / "net.pth", {"w": Tensor(WHOLE, "0")}))) == {"w"}
