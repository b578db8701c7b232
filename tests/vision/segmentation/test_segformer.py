"""SegFormer and its encoder: published counts, attention by NumPy, images of any side, one image by heart."""

import keras
import numpy as np
import pytest
from filling import fill_weights
from two_regions import loss_ratio
from unallocated import unallocated

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.vision.backbones import mix_transformer_features
from kerasdl.vision.backbones.mix_transformer import efficient_attention
from kerasdl.vision.segmentation.segformer import segformer

RNG = np.random.default_rng(0)


def tiny(**more):
    return segformer(**{**kerasdl.spec("segformer_b0").tiny, **more})


@pytest.mark.parametrize(("name", "count"), [("b0", 3_752_694), ("b1", 13_715_798), ("b2", 27_461_974)])
def test_counts_are_those_of_transformers(name, count):
    with unallocated():
        net = kerasdl.build(f"segformer_{name}")
    assert sum(int(np.prod(each.shape)) for each in net.trainable_weights) == count
    assert net.get_layer("logits").output.shape == (None, 128, 128, 150)
    assert net.output_shape == (None, 512, 512, 150)


def test_keys_and_values_are_of_the_smaller_map():
    x = keras.Input((7, 6, 4))
    model = fill_weights(keras.Model(x, efficient_attention(x, 2, 2, name="attention")))
    values = RNG.normal(size=(1, 7, 6, 4)).astype("float32")
    kernel, bias = model.get_layer("attention_reduce_conv").get_weights()
    squares = values[:, :6].reshape(1, 3, 2, 3, 2, 4).transpose(0, 1, 3, 2, 4, 5).reshape(9, 16)  # the last row is left
    keys = squares @ kernel.reshape(16, 4) + bias
    gamma, beta = model.get_layer("attention_reduce_norm").get_weights()
    keys = (keys - keys.mean(-1, keepdims=True)) / np.sqrt(keys.var(-1, keepdims=True) + 1e-5) * gamma + beta
    weights = model.get_layer("attention").get_weights()
    (q, qb), (k, kb), (v, vb), (o, ob) = zip(weights[::2], weights[1::2], strict=True)
    queries = np.einsum("td,dnh->tnh", values.reshape(42, 4), q) + qb
    scores = np.einsum("tnh,snh->nts", queries, np.einsum("sd,dnh->snh", keys, k) + kb) / np.sqrt(2)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    shares /= shares.sum(-1, keepdims=True)
    mixed = np.einsum("nts,snh->tnh", shares, np.einsum("sd,dnh->snh", keys, v) + vb)
    expected = (np.einsum("tnh,nhd->td", mixed, o) + ob).reshape(1, 7, 6, 4)
    np.testing.assert_allclose(model(values), expected, rtol=1e-3, atol=1e-5)


def test_images_of_any_side_and_any_channels():
    fixed, free = tiny(image_shape=(37, 26, 1)), tiny(image_shape=(None, None, 1))
    assert fixed.output_shape == (None, 37, 26, 3)
    fill_weights(fixed)
    free.set_weights(fixed.get_weights())
    x = RNG.uniform(-1, 1, (2, 37, 26, 1)).astype("float32")
    np.testing.assert_allclose(free(x, training=False), fixed(x, training=False), rtol=1e-4, atol=1e-4)


def test_smallest_image_is_the_one_that_the_rule_names():
    with unallocated():
        assert mix_transformer_features(keras.Input((29, 29, 3)))["stride32"].shape == (None, 1, 1, 256)
        with pytest.raises(ArgumentError, match=r"sides of an image must be 29 or more pixels .*; got \(29, 28\)"):
            mix_transformer_features(keras.Input((29, 28, 3)))


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"depths": (2, 2)}, "a number for each stage"),
        ({"heads": (3, 2, 5, 8)}, "a multiple of its heads"),
        ({"reductions": (8, 4, 2, 0)}, "reductions must hold"),
    ],
)
def test_tables_that_do_not_fit_are_refused(settings, rule):
    with pytest.raises(ArgumentError, match=rule):
        mix_transformer_features(keras.Input((64, 64, 3)), **settings)


def test_decoder_takes_the_maps_of_any_backbone():
    with unallocated():
        net = segformer((64, 50, 3), classes=1, backbone="resnet18", strides=(8, 32), channels=16)
    assert net.get_layer("concat").output.shape == (None, 8, 7, 32)
    assert net.output_shape == (None, 64, 50, 1)


@pytest.mark.slow
def test_one_image_is_learnt_by_heart():
    keras.utils.set_random_seed(0)
    assert loss_ratio(tiny(image_shape=(32, 32, 3)), 25, 1e-2) < 0.5
