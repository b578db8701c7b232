"""Blocks of detectors: published counts, formulas of each block by NumPy, pyramids of odd and free sides."""

import keras
import numpy as np
import pytest
from filling import fill_weights

from kerasdl import blocks
from kerasdl.core import ArgumentError

RNG = np.random.default_rng(0)


def pyramid(channels, side=(50, 38), first=4):
    """Entries of each level; 50 x 38 halves to odd sides, as an image of no multiple of 32 gives them."""
    entries = {}
    for number, count in enumerate(channels):
        sides = tuple(each and -(-each // 2**number) for each in side)
        entries[f"stride{first * 2**number}"] = keras.Input((*sides, count), name=f"stride{first * 2**number}")
    return entries


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def silu(x):
    return x / (1 + np.exp(-x))


def nearest(x, like):
    for axis in (1, 2):
        x = np.take(x, np.arange(like.shape[axis]) * x.shape[axis] // like.shape[axis], axis)
    return x


def run(model, x):
    return {key: np.asarray(each) for key, each in model(x, training=False).items()}


def arrays_for(entries, batch=2):
    return {key: RNG.normal(size=(batch, *each.shape[1:])).astype("float32") for key, each in entries.items()}


def conv_of(model, name):
    """A 1x1 or 3x3 convolution of a model with its bias, or its normalisation, as a function of arrays."""
    layer = model.get_layer(f"{name}_conv")
    norms = [each for each in model.layers if each.name == f"{name}_bn"]

    def call(x):
        x = layer(x)
        return np.asarray(norms[0](x, training=False) if norms else x)

    return call


def test_fpn_has_torchvisions_weights():
    entries = pyramid((256, 512, 1024, 2048))
    assert keras.Model(entries, blocks.fpn(entries, extra="pool")).count_params() == 3_344_384
    retina = pyramid((512, 1024, 2048), first=8)
    # torchvision's FPN of three levels, and P6 and P7 from P5: 256 x 256 x 3 x 3 weights and 256 biases each.
    three = (512 + 1024 + 2048 + 3) * 256 + 3 * (256 * 256 * 9 + 256)
    assert keras.Model(retina, blocks.fpn(retina, extra="output")).count_params() == three + 2 * (256 * 256 * 9 + 256)
    assert keras.Model(retina, blocks.fpn(retina, extra="input")).count_params() == three + 9 * 256 * (2048 + 256) + 512


@pytest.mark.parametrize("side", [(50, 38), (None, None)])
@pytest.mark.parametrize("extra", ["pool", "input", "output"])
def test_fpn_is_its_figure(side, extra):
    """Against the sums of the paper, level by level, on odd sides, known and free."""
    entries = pyramid((3, 4, 5), side)
    model = fill_weights(keras.Model(entries, blocks.fpn(entries, 6, extra=extra)))
    x = arrays_for(pyramid((3, 4, 5)))
    out = run(model, x)
    strides = [4, 8, 16, 32] if extra == "pool" else [4, 8, 16, 32, 64]
    assert list(out) == [f"stride{stride}" for stride in strides]
    total = None
    for key in ("stride16", "stride8", "stride4"):
        lateral = conv_of(model, f"fpn_{key}_lateral")(x[key])
        total = lateral if total is None else lateral + nearest(total, lateral)
        np.testing.assert_allclose(out[key], conv_of(model, f"fpn_{key}_output")(total), atol=1e-5)
    if extra == "pool":
        np.testing.assert_array_equal(out["stride32"], out["stride16"][:, ::2, ::2])
        return
    for key, source in (("stride32", (x if extra == "input" else out)["stride16"]), ("stride64", out["stride32"])):
        source = np.maximum(source, 0) if key == "stride64" else source
        padded = np.pad(source, ((0, 0), (1, 1), (1, 1), (0, 0)))
        np.testing.assert_allclose(out[key], conv_of(model, f"fpn_{key}")(padded), atol=1e-5)


@pytest.mark.parametrize("side", [(50, 38), (48, 32), (None, None)])
def test_pan_reads_and_gives_every_level(side):
    """Each output has its level's sides, and depends on every input, by the way down and the way back."""
    entries = pyramid((3, 4, 5), side)
    model = fill_weights(keras.Model(entries, blocks.pan(entries, (4, 6, 8))))
    x = arrays_for(pyramid((3, 4, 5), side if side[0] else (50, 38)))
    out = run(model, x)
    for key, channels in zip(x, (4, 6, 8), strict=True):
        assert out[key].shape == (*x[key].shape[:3], channels)
    for key in x:
        changed = run(model, x | {key: x[key] + 1.0})
        assert all(np.abs(changed[other] - out[other]).max() > 1e-3 for other in out)


def test_pan_is_its_figure():
    """With merging blocks that are 1x1 convolutions, the figure is short enough to write out."""
    merge = dict(block=lambda x, filters, *, name, **_: keras.layers.Conv2D(filters, 1, name=f"{name}_conv")(x))
    entries = pyramid((3, 4, 5), (10, 6))
    model = fill_weights(keras.Model(entries, blocks.pan(entries, (4, 6, 8), **merge)))
    x = arrays_for(entries)
    out = run(model, x)

    def merged(name, *parts):
        return conv_of(model, f"pan_{name}")(np.concatenate(parts, -1))

    def down(key, y):
        padded = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return silu(conv_of(model, f"pan_{key}_downsample")(padded))

    middle = merged("stride8_top_down", nearest(x["stride16"], x["stride8"]), x["stride8"])
    fine = merged("stride4_top_down", nearest(middle, x["stride4"]), x["stride4"])
    np.testing.assert_allclose(out["stride4"], fine, atol=1e-5)
    middle = merged("stride8_bottom_up", down("stride8", fine), middle)
    np.testing.assert_allclose(out["stride8"], middle, atol=1e-5)
    coarse = merged("stride16_bottom_up", down("stride16", middle), x["stride16"])
    np.testing.assert_allclose(out["stride16"], coarse, atol=1e-5)


def pooled(x):
    """Max pooling 3x3 of stride 2 as TensorFlow pads it."""
    return np.asarray(keras.ops.max_pool(x, 3, 2, "same"))


@pytest.mark.parametrize("side", [(50, 38), (None, None)])
def test_bifpn_is_its_equations(side):
    entries = pyramid((3, 4), side)
    model = fill_weights(keras.Model(entries, blocks.bifpn(entries, 6, repeats=1, extra=1)))
    x = arrays_for(pyramid((3, 4)))
    out = run(model, x)
    levels = {key: conv_of(model, f"bifpn_{key}_input")(each) for key, each in x.items()}
    levels["stride16"] = pooled(levels["stride8"])

    def fused(key, way, *parts):
        name = f"bifpn_cell1_{key}_{way}"
        weights = np.maximum(model.get_layer(f"{name}_fusion").get_weights()[0], 0)
        total = silu(sum(w * part for w, part in zip(weights, parts, strict=True)) / (weights.sum() + 1e-4))
        return conv_of(model, f"{name}_pointwise")(np.asarray(model.get_layer(f"{name}_depthwise_conv")(total)))

    middle = fused("stride8", "top_down", levels["stride8"], nearest(levels["stride16"], levels["stride8"]))
    fine = fused("stride4", "top_down", levels["stride4"], nearest(middle, levels["stride4"]))
    back = fused("stride8", "bottom_up", levels["stride8"], middle, pooled(fine))
    coarse = fused("stride16", "bottom_up", levels["stride16"], pooled(back))
    for key, expected in (("stride4", fine), ("stride8", back), ("stride16", coarse)):
        np.testing.assert_allclose(out[key], expected, atol=1e-5)
    assert list(out) == ["stride4", "stride8", "stride16"]


def test_c2f_and_sppf_have_the_published_weights():
    """Those of YOLOv8n's layers 2 (C2f, 32 channels) and 9 (SPPF, 256): 7,360 and 164,608 trainable."""
    x = keras.Input((8, 8, 32))
    assert trainable(keras.Model(x, blocks.c2f(x, 32, name="c"))) == 7_360
    x = keras.Input((8, 8, 256))
    assert trainable(keras.Model(x, blocks.sppf(x, 256, name="s"))) == 164_608


@pytest.mark.parametrize("block", [blocks.c2f, blocks.csp_block])
@pytest.mark.parametrize("shortcut", [True, False])
def test_cross_stage_blocks_are_their_figures(block, shortcut):
    image = keras.Input((6, 5, 6))
    model = fill_weights(keras.Model(image, block(image, 8, repeats=2, shortcut=shortcut, name="b")))
    x = RNG.normal(size=(2, 6, 5, 6)).astype("float32")

    def conv(name, y):
        return silu(conv_of(model, f"b_{name}")(y))

    past, inner = conv("past", x), conv("through", x)
    parts = [past, inner]
    for number in (1, 2):
        inner = conv(f"block{number}_2", conv(f"block{number}_1", inner)) + (inner if shortcut else 0)
        parts.append(inner)
    parts = parts if block is blocks.c2f else [inner, past]
    np.testing.assert_allclose(model(x, training=False), conv("project", np.concatenate(parts, -1)), atol=1e-5)
    kernel = model.get_layer("b_block1_1_conv").kernel_size
    assert kernel == ((3, 3) if block is blocks.c2f else (1, 1))


def test_sppf_pools_over_5_9_and_13_pixels():
    image = keras.Input((15, 17, 4))
    model = fill_weights(keras.Model(image, blocks.sppf(image, 8, name="s")))
    x = RNG.normal(size=(2, 15, 17, 4)).astype("float32")
    first = silu(conv_of(model, "s_reduce")(x))
    assert first.shape[-1] == 2
    windows = [np.asarray(keras.ops.max_pool(first, side, 1, "same")) for side in (5, 9, 13)]
    expected = silu(conv_of(model, "s_project")(np.concatenate([first, *windows], -1)))
    np.testing.assert_allclose(model(x, training=False), expected, atol=1e-5)


def test_darknet_residual_is_its_table():
    image = keras.Input((4, 4, 8))
    model = fill_weights(keras.Model(image, blocks.darknet_residual(image, name="d")))
    x = RNG.normal(size=(2, 4, 4, 8)).astype("float32")

    def conv(name, y):
        y = conv_of(model, name)(y)
        return np.where(y > 0, y, 0.1 * y)

    np.testing.assert_allclose(model(x, training=False), x + conv("d_2", conv("d_1", x)), atol=1e-5)
    assert model.get_layer("d_1_conv").filters == 4


@pytest.mark.parametrize(
    "call",
    [
        lambda levels: blocks.fpn([*levels.values()]),
        lambda levels: blocks.fpn({}),
        lambda levels: blocks.fpn(dict(reversed(levels.items()))),
        lambda levels: blocks.fpn({"stem": levels["stride4"]}),
        lambda levels: blocks.fpn({"stride4": levels["stride4"], "stride16": levels["stride8"]}),
        lambda levels: blocks.fpn(levels, extra="convolution"),
        lambda levels: blocks.fpn(levels, 0),
        lambda levels: blocks.pan(levels, (4,)),
        lambda levels: blocks.pan({"stride4": levels["stride4"]}, (4,)),
        lambda levels: blocks.bifpn({"stride4": levels["stride4"]}, extra=0),
        lambda levels: blocks.bifpn(levels, repeats=0),
        lambda levels: blocks.bifpn(levels, extra=-1),
        lambda levels: blocks.c2f(levels["stride4"], 7, name="b"),
        lambda levels: blocks.csp_block(levels["stride4"], 8, repeats=0, name="b"),
        lambda levels: blocks.sppf(levels["stride4"], 8, name="b"),
        lambda levels: blocks.sppf(levels["stride8"], 8, pool=4, name="b"),
        lambda levels: blocks.darknet_residual(levels["stride4"], name="b"),
    ],
)
def test_what_does_not_fit_is_refused(call):
    with pytest.raises(ArgumentError, match="must"):
        call(pyramid((3, 4)))
