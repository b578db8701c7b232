"""Files appear whole or not at all; checks say the rule, what came and what to do."""

import json
import subprocess
import sys

import numpy as np
import pytest

from kerasdl.core import ArgumentError, MissingPackageError, checks, files, optional
from kerasdl.core.outputs.decoding import decode_classes, decode_values, softmax


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "figures.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ZeroDivisionError), files.writing(path) as file:
        file.write_text("half")
        raise ZeroDivisionError
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_folder_leaves_the_old_folder_and_nothing_else(tmp_path):
    with files.writing_folder(tmp_path / "bundle") as folder:
        (folder / "old").write_text("old")
    with pytest.raises(ZeroDivisionError), files.writing_folder(tmp_path / "bundle") as folder:
        (folder / "new").write_text("new")
        raise ZeroDivisionError
    assert [file.name for file in (tmp_path / "bundle").iterdir()] == ["old"]
    with files.writing_folder(tmp_path / "bundle") as folder:
        (folder / "new").write_text("new")
    assert [file.name for file in (tmp_path / "bundle").iterdir()] == ["new"]
    assert len(list(tmp_path.iterdir())) == 1


def test_sha256_is_the_standard_one(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert files.sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (
            lambda: checks.one_of("width", 0.6, (0.5, 1.0), "Pass stages="),
            "width must be one of (0.5, 1.0); got 0.6. P",
        ),
        (lambda: checks.at_least("classes", 0, 1), "classes must be an integer of 1 or more; got 0."),
        (lambda: checks.at_least("classes", True, 1), "got True."),
        (lambda: checks.at_least("classes", 2.0, 1), "got 2.0."),
        (lambda: checks.within("dropout", float("nan"), 0, 1), "dropout must be a number from 0 to 1; got nan."),
        (lambda: checks.within("dropout", "much", 0, 1), "got 'much'."),
        (lambda: checks.image_shape("image_shape", (32, 32)), "(height, width, channels)"),
        (lambda: checks.image_shape("image_shape", (32, 32, None)), "(height, width, channels)"),
        (lambda: checks.image_shape("image_shape", (0, 32, 3)), "got (0, 32, 3)."),
    ],
)
def test_a_broken_rule_is_told(check, text):
    with pytest.raises(ArgumentError) as caught:
        check()
    assert text in str(caught.value)


def test_numpy_integers_are_integers():
    assert checks.at_least("classes", np.int64(3), 1) == 3
    assert checks.image_shape("image_shape", [None, None, np.int32(3)]) == (None, None, 3)


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    with pytest.raises(MissingPackageError, match=r"pip install 'kerasdl\[hub\]'"):
        optional("a_package_that_nobody_has", "hub")


@pytest.mark.slow
def test_one_seed_gives_bit_equal_weights_in_two_processes():
    program = (
        "import kerasdl, numpy as np, hashlib, random; kerasdl.set_seed(7);"
        "model = kerasdl.build('mlp', dropout=0.5); model.compile('adam', 'mse');"
        "x = np.random.normal(size=(64, 4)); y = np.random.normal(size=(64, 3));"
        "model.fit(x, y, epochs=2, verbose=0);"
        "print(hashlib.sha256(b''.join(w.tobytes() for w in model.get_weights())).hexdigest(), random.random())"
    )
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout != "", runs[0].stderr


def test_decoding_orders_labels_by_probability():
    (first, second) = decode_classes(softmax([[0.0, np.log(3.0)], [5.0, 5.0]]), ["no", "yes"])
    assert first["label"] == "yes"
    assert first["score"] == pytest.approx(0.75)
    assert list(first["scores"]) == ["yes", "no"]
    assert second["scores"] == {"no": pytest.approx(0.5), "yes": pytest.approx(0.5)}
    assert decode_classes([[0.0, 1.0]], ["only"])[0]["label"] == "1"
    assert decode_values([[1.5]], ["price"]) == [{"price": 1.5}]
    assert decode_values([[1.5]], []) == [{"value": 1.5}]
