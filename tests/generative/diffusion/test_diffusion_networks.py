"""Diffusion networks: counts of the papers by formula, conditions that reach the output, shapes that are refused."""

import keras
import numpy as np
import pytest
from unallocated import unallocated

import kerasdl
from kerasdl.core.errors import ArgumentError

TINY_UNET = dict(image_shape=(8, 8, 1), widths=(8, 16), blocks=1, attention=(4,), groups=4, dropout=0.0)


def dit_count(depth, width, *, side=32, channels=4, patch=2, classes=1000):
    tokens = (side // patch) ** 2
    outer = tokens * width + (patch**2 * channels + 1) * width + (256 + 1) * width + (width + 1) * width
    block = 6 * (width + 1) * width + 4 * (width + 1) * width + 8 * width**2 + 5 * width
    final = 2 * (width + 1) * width + (width + 1) * patch**2 * 2 * channels
    return outer + (classes + 1) * width + depth * block + final


@pytest.mark.parametrize("name", ["dit_s", "dit_b", "dit_l", "dit_xl"])
def test_counts_of_dit_are_the_sums_of_its_layers(name):
    spec = kerasdl.spec(name)
    assert spec.params == dit_count(spec.arguments["depth"], spec.arguments["width"])


def test_xl_has_as_many_weights_to_train_as_the_paper_and_fixed_positions():
    assert dit_count(28, 1152) - 256 * 1152 == 674_834_720
    with unallocated():
        model = kerasdl.build("dit_s")
    fixed = sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights)
    assert fixed == 256 * 384


def test_count_of_the_perceptron():
    def dense(inner, outer):
        return (inner + 1) * outer

    time = dense(32, 128) + dense(128, 128)
    expected = time + dense(2, 128) + 4 * (2 * dense(128, 128) + dense(128, 128)) + dense(128, 2)
    assert kerasdl.spec("diffusion_mlp").params == expected


def filled(model):
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(weight + 0.1 * rng.normal(size=weight.shape))
    return model


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("diffusion_unet", TINY_UNET, (8, 8, 1)),
        ("diffusion_unet", {**TINY_UNET, "scale_shift": True, "heads": 2}, (8, 8, 1)),
        ("dit_s", dict(image_shape=(4, 4, 2), depth=1, width=16, heads=2, learned_variance=False), (4, 4, 2)),
        ("diffusion_mlp", dict(features=3, width=8, depth=1, waves=4), (3,)),
    ],
)
def test_time_and_class_reach_the_output_and_examples_stay_apart(name, arguments, shape):
    model = filled(kerasdl.build(name, **arguments, classes=3))
    x = np.random.default_rng(1).normal(size=(2, *shape)).astype("float32")
    given = {"x": x, "time": np.array([10.0, 700.0], "float32"), "label": np.array([0, 3], "int32")}
    found = np.asarray(model(given))
    assert found.shape == x.shape
    for key, value in {"time": np.array([10.0, 650.0]), "label": np.array([0, 2])}.items():
        other = np.asarray(model({**given, key: value.astype(given[key].dtype)}))
        np.testing.assert_allclose(other[0], found[0], atol=1e-5)
        assert np.abs(other[1] - found[1]).max() > 1e-4


def test_a_network_predicts_nothing_at_first_and_learns_variance_on_request():
    model = kerasdl.build("diffusion_unet", **TINY_UNET, learned_variance=True)
    found = np.asarray(model({"x": np.ones((1, 8, 8, 1), "float32"), "time": np.zeros(1, "float32")}))
    assert found.shape == (1, 8, 8, 2)
    np.testing.assert_array_equal(found, 0)


def test_patches_return_to_their_places():
    """With a last layer that copies a token's first numbers, each patch holds those of its own token."""
    small = dict(image_shape=(4, 4, 1), depth=1, width=16, heads=2, classes=None, learned_variance=False)
    model = kerasdl.build("dit_s", **small)
    tail = keras.Model(model.get_layer("final_project").output, model.output)
    tokens = np.arange(16.0).reshape(1, 4, 4).astype("float32")  # token, pixel of the patch
    image = np.asarray(tail(tokens))[0, :, :, 0]
    np.testing.assert_array_equal(image, [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]])


def test_sizes_that_do_not_fit_are_refused():
    for make in (
        lambda: kerasdl.build("diffusion_unet", image_shape=(None, None, 3)),
        lambda: kerasdl.build("diffusion_unet", image_shape=(30, 32, 3)),
        lambda: kerasdl.build("diffusion_unet", **{**TINY_UNET, "groups": 3}),
        lambda: kerasdl.build("diffusion_unet", **{**TINY_UNET, "heads": 3}),
        lambda: kerasdl.build("diffusion_unet", **{**TINY_UNET, "dropout": 2.0}),
        lambda: kerasdl.build("diffusion_unet", **TINY_UNET, classes=0),
        lambda: kerasdl.build("dit_s", image_shape=(32, 16, 4)),
        lambda: kerasdl.build("dit_s", patch=3),
        lambda: kerasdl.build("dit_s", heads=7),
        lambda: kerasdl.build("diffusion_mlp", width=0),
        lambda: kerasdl.build("diffusion_mlp", waves=5),
    ):
        with pytest.raises(ArgumentError):
            make()
