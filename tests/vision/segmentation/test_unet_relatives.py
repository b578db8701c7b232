"""Relatives of U-Net: gates by their formula, the grid of U-Net++, sums of LinkNet, and images of any side."""

import keras
import numpy as np
import pytest
from filling import fill_weights

import kerasdl
from kerasdl.core import ArgumentError

RNG = np.random.default_rng(0)


def free_and_fixed(name, shape):
    tiny = kerasdl.spec(name).tiny
    fixed = fill_weights(kerasdl.build(name, **{**tiny, "image_shape": shape}))
    free = kerasdl.build(name, **{**tiny, "image_shape": (None, None, shape[2])})
    free.set_weights(fixed.get_weights())
    return fixed, free


@pytest.mark.parametrize("name", ["attention_unet", "unet_plus_plus", "linknet", "segmentation_fpn"])
def test_images_of_any_side_give_logits_of_that_side(name):
    fixed, free = free_and_fixed(name, (37, 26, 2))
    assert fixed.output_shape == (None, 37, 26, 3)
    x = RNG.normal(size=(1, 37, 26, 2)).astype("float32")
    np.testing.assert_allclose(free(x), fixed(x), rtol=1e-4, atol=1e-4)


def test_a_closed_gate_hides_the_skip_and_an_open_one_is_unet():
    shape = (24, 20, 3)
    plain = fill_weights(kerasdl.build("unet", image_shape=shape, channels=4, depth=2))
    gated = kerasdl.build("attention_unet", image_shape=shape, channels=4, depth=2)
    for layer in plain.layers:
        gated.get_layer(layer.name).set_weights(layer.get_weights())
    without = keras.models.clone_model(plain)
    without.set_weights(plain.get_weights())
    for level in (1, 2):
        kernel = without.get_layer(f"decoder{level}_1_conv").kernel
        kernel.assign(kernel.numpy() * (np.arange(kernel.shape[2]) < kernel.shape[2] // 2)[:, None])
    x = RNG.normal(size=(1, *shape)).astype("float32")
    for bias, expected in ((50.0, plain), (-50.0, without)):
        for level in (1, 2):
            gated.get_layer(f"gate{level}_psi_conv").bias.assign([bias])
        np.testing.assert_allclose(gated(x), expected(x), rtol=1e-4, atol=1e-4)


def test_unet_plus_plus_has_the_grid_of_its_figure():
    """Figure 1a: X(i, j) reads X(i, 0) to X(i, j - 1) and the coarser X(i + 1, j - 1)."""
    model = kerasdl.build("unet_plus_plus", **kerasdl.spec("unet_plus_plus").tiny)
    merges = [layer for layer in model.layers if layer.name.endswith("_concat")]
    readers = {}
    for layer in merges:
        sources = [tensor._keras_history.operation.name for tensor in layer.input]
        readers[layer.name.removesuffix("_concat")] = [name.removesuffix("_2_relu") for name in sources]
    of_backbone = {level: readers[f"x{level}_1"][-1] for level in (1, 2)}
    assert {name: sources[1:] for name, sources in readers.items()} == {
        "x2_1": [of_backbone[2]],
        "x1_1": [of_backbone[1]],
        "x1_2": ["x1_1", of_backbone[1]],
    }
    coarse = [model.get_layer(readers[name][0]).input for name in ("x1_1", "x1_2")]
    assert coarse[0]._keras_history.operation.name == of_backbone[2]
    assert coarse[1]._keras_history.operation.name == "x2_1_2_relu"


def test_linknet_adds_the_maps_that_it_cannot_concatenate():
    model = kerasdl.build("linknet", **kerasdl.spec("linknet").tiny)
    assert not [layer for layer in model.layers if isinstance(layer, keras.layers.Concatenate)]
    for level in (2, 3):
        first, second = model.get_layer(f"decoder{level}_add").input
        assert first.shape == second.shape
    with pytest.raises(ArgumentError, match="begin at 2"):
        kerasdl.build("linknet", image_shape=(64, 64, 3), strides=(4, 8, 16, 32))
