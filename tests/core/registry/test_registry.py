"""The registry: names, specs, errors, and an index that is never stale."""

import json
import subprocess
import sys

import pytest

import kerasdl
from kerasdl.core import ArgumentError, UnknownNameError, register
from kerasdl.core.registry import index, indexing, models


def test_the_index_is_fresh():
    assert indexing.build_index() == json.loads(index.INDEX.read_text()), "run: make index"


def test_list_models_filters_by_pattern_task_and_tag():
    assert kerasdl.list_models("vision/mobilenet_v3*") == ["mobilenet_v3_large", "mobilenet_v3_small"]
    assert kerasdl.list_models("bilstm_c*") == ["bilstm_classifier", "bilstm_crf"]
    assert kerasdl.list_models(task="tabular_regression") == ["mlp_regressor"]
    assert {"vit_base", "swin_tiny"} <= set(kerasdl.list_models(tag="transformer"))
    assert "resnet18" not in kerasdl.list_models(tag="transformer")
    assert kerasdl.list_models("nothing/*") == []


def test_a_misspelt_name_is_answered_with_its_neighbours():
    with pytest.raises(UnknownNameError, match=r"unknown model 'mobilenet_v22'. Did you mean 'mobilenet_v2'"):
        kerasdl.build("mobilenet_v22")
    with pytest.raises(LookupError):
        kerasdl.spec("zzz")


def test_an_unknown_argument_is_refused_before_anything_is_built():
    with pytest.raises(ArgumentError, match=r"mobilenet_v2 takes the arguments \('image_shape', 'classes'.*'alpha'"):
        kerasdl.build("mobilenet_v2", alpha=0.5)


@pytest.mark.parametrize(
    ("argument", "remedy"),
    [
        ({"num_classes": 5}, "'classes'"),
        ({"input_shape": (64, 64, 3)}, "'image_shape'"),
        ({"classe": 5}, "Did you mean 'classes'"),
        ({"weights": "imagenet"}, r'import_weights\(model, "keras-applications:MobileNetV2"\)'),
        ({"pretrained": True}, r"import_weights|load_bundle"),
        ({"include_top": False}, "replace_head"),
    ],
)
def test_arguments_of_other_libraries_are_refused_with_the_remedy(argument, remedy):
    with pytest.raises(ArgumentError, match=rf"got '{next(iter(argument))}'\. .*{remedy}"):
        kerasdl.build("mobilenet_v2", **argument)


def test_images_too_small_for_a_net_are_refused_with_the_smallest_size():
    with pytest.raises(ArgumentError, match=r"image_shape of alexnet must have sides of 63 or more; got \(62, 62, 3\)"):
        kerasdl.build("alexnet", image_shape=(62, 62, 3), classes=2, hidden=8)
    assert kerasdl.build("alexnet", image_shape=(63, 63, 3), classes=2).output_shape == (None, 2)


def test_a_duplicate_name_is_refused():
    with pytest.raises(ArgumentError, match="name must be new; got 'resnet18'"):

        @register(task="image_classification", paper="https://example.org")
        def resnet18():
            """Takes a name that is taken."""


def test_a_variant_is_its_builder_with_its_arguments():
    variant = kerasdl.build("mobilenet_v2_050", image_shape=(32, 32, 3), classes=4)
    direct = kerasdl.build("mobilenet_v2", width=0.5, image_shape=(32, 32, 3), classes=4)
    assert [tuple(weight.shape) for weight in variant.weights] == [tuple(weight.shape) for weight in direct.weights]


def test_a_users_own_model_registers_beside_ours(monkeypatch):
    monkeypatch.setattr(models, "_specs", dict(models._specs))
    monkeypatch.setattr(models, "_functions", dict(models._functions))

    @register(task="tabular_classification", paper="https://example.org/mine", tags=("mine",))
    def my_model(features=2):
        """Doubles its argument."""
        return 2 * features

    assert kerasdl.list_models(tag="mine") == ["my_model"]
    assert kerasdl.build("my_model", features=21) == 42


@pytest.mark.parametrize(
    "program",
    [
        "import kerasdl",
        "import kerasdl; kerasdl.list_models(); kerasdl.spec('vit_tiny').params",
        "import kerasdl.data, kerasdl.train, kerasdl.deploy, kerasdl.vision, kerasdl.bundles, kerasdl.cli",
    ],
)
def test_no_tensorflow_before_it_is_needed(program):
    program += "; import sys; print(sorted({'tensorflow', 'keras', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"


def test_tensorflow_starts_in_silence():
    program = "import kerasdl; kerasdl.build('mlp')"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
