"""Tests of single vision nets beyond the contract: counts by the papers' tables, forms, heads, any size."""

import keras
import numpy as np
import pytest
from filling import fill_weights
from unallocated import unallocated

import kerasdl
from kerasdl.core import ArgumentError
from kerasdl.vision.backbones import googlenet, regnet, resnet_v2, squeezenet, swin


def test_alexnet_of_2012_by_its_layers():
    """Section 3.5 and figure 2: kernels of the second, fourth and fifth convolution see one tower alone."""
    convolutions = [(11, 3, 96), (5, 48, 256), (3, 256, 384), (3, 192, 384), (3, 192, 256)]
    dense = [(6 * 6 * 256, 4096), (4096, 4096), (4096, 1000)]
    count = sum(side**2 * inputs * outputs + outputs for side, inputs, outputs in convolutions)
    count += sum(inputs * outputs + outputs for inputs, outputs in dense)
    assert count == kerasdl.spec("alexnet_2012").params


def test_lenet5_by_its_layers():
    layers = [5 * 5 * 6 + 6, 5 * 5 * 6 * 16 + 16, 400 * 120 + 120, 120 * 84 + 84, 84 * 10 + 10]
    assert layers == [156, 2_416, 48_120, 10_164, 850]
    assert sum(layers) == kerasdl.spec("lenet5").params


def residual_blocks(stages=(3, 4, 6, 3)):
    """Yields, for each block of a bottleneck ResNet, its channels."""
    for stage, repeats in enumerate(stages):
        yield from [256 * 2**stage] * repeats


def test_squeezed_channels_by_the_papers_formula():
    """Section 3 of SE: two dense layers over C channels, C / 16 between them. CBAM has the same, and a 7x7 kernel."""
    resnet50 = kerasdl.spec("resnet50").params
    gates = sum(2 * c * c // 16 + c // 16 + c for c in residual_blocks())
    assert kerasdl.spec("se_resnet50").params == resnet50 + gates
    assert kerasdl.spec("cbam_resnet50").params == resnet50 + gates + 7 * 7 * 2 * len([*residual_blocks()])
    basic = [c // 4 for c in residual_blocks((2, 2, 2, 2))]
    gates = sum(2 * c * c // 16 + c // 16 + c for c in basic)
    assert kerasdl.spec("se_resnet18").params == kerasdl.spec("resnet18").params + gates


def test_non_local_blocks_by_the_papers_figure():
    """Figure 2: three 1x1 convolutions to half of the channels, one back, and its normalisation."""

    def block(c):
        return 3 * (c * c // 2 + c // 2) + (c // 2 * c + c) + 4 * c

    assert kerasdl.spec("nonlocal_resnet50").params == kerasdl.spec("resnet50").params + 2 * block(512) + 3 * block(
        1024
    )


def bottlenecks(inputs, stages):
    """Counts the weights of bottleneck stages with their batch norms; gives them and the channels at the end."""
    count = 0
    for stage, repeats in enumerate(stages):
        width = 64 * 2**stage
        for block in range(repeats):
            count += inputs * width + 9 * width**2 + 4 * width**2 + 4 * (2 * width + 4 * width)
            if block == 0:
                count += inputs * 4 * width + 4 * 4 * width
            inputs = 4 * width
    return count, inputs


def test_the_hybrid_by_the_papers_tables():
    stages, channels = bottlenecks(64, (3, 4, 9))
    stem = 7 * 7 * 3 * 64 + 4 * 64
    width, tokens = 768, 14 * 14 + 1
    encoder = 12 * (4 * (width**2 + width) + 2 * 4 * width**2 + 5 * width + 4 * width)
    rest = channels * width + width + width + tokens * width + 2 * width + width * 1000 + 1000
    assert kerasdl.spec("vit_hybrid").params == stem + stages + encoder + rest
    assert stem + sum(bottlenecks(64, (3, 4, 6, 3))) == kerasdl.spec("resnet50").params - 2048 * 1001 - 1000 + 2048 * 2


@pytest.mark.parametrize(
    ("name", "form"), [("s", (512, 8, 256, 2048)), ("b", (768, 12, 384, 3072)), ("l", (1024, 24, 512, 4096))]
)
def test_mixers_by_table_1(name, form):
    width, depth, places, channels = form
    for patch in (16, 32):
        tokens = (224 // patch) ** 2
        layer = 2 * tokens * places + places + tokens + 2 * width * channels + channels + width + 4 * width
        count = 3 * patch**2 * width + width + depth * layer + 2 * width + width * 1000 + 1000
        if f"mlp_mixer_{name}{patch}" in kerasdl.list_models():
            assert kerasdl.spec(f"mlp_mixer_{name}{patch}").params == count


# Widths and depths of the stages, https://arxiv.org/abs/2003.13678, tables of models in the appendix; the last width of
# x_400mf is torchvision's, where the paper prints 384, which its own line does not give.
REGNETS = {
    "x_400mf": ((32, 64, 160, 400), (1, 2, 7, 12)),
    "x_3_2gf": ((96, 192, 432, 1008), (2, 6, 15, 2)),
    "y_400mf": ((48, 104, 208, 440), (1, 3, 6, 6)),
    "y_8gf": ((224, 448, 896, 2016), (2, 4, 10, 1)),
}


@pytest.mark.parametrize("name", REGNETS)
def test_regnets_have_the_published_stages(name):
    stages = regnet.regnet_stages(kerasdl.spec(f"regnet_{name}").arguments["line"])
    widths, depths = REGNETS[name]
    assert tuple(width for _, width, _ in stages) == widths
    assert tuple(repeats for repeats, _, _ in stages) == depths


def test_googlenet_has_two_classifiers_beside():
    with unallocated():
        model = kerasdl.build("googlenet", auxiliary=True)
    assert [output.shape for output in model.outputs] == [(None, 1000)] * 3
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable == 13_004_888  # torchvision 0.28, with its auxiliary heads


ROW = (8, 8, 12, 4, 8, 4)


def test_classifiers_beside_googlenet_learn_as_its_docstring_says():
    model = kerasdl.build(
        "googlenet", image_shape=(32, 32, 3), width=8, stages=((ROW,), (ROW,) * 4, (ROW,)), auxiliary=True, classes=2
    )
    x, y = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype("float32"), np.arange(8) % 2
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    before = [model.get_layer(name).kernel.numpy() for name in ("head", "auxiliary1_head", "auxiliary2_head")]
    model.compile("sgd", loss=[loss] * 3, loss_weights=[1.0, 0.3, 0.3], run_eagerly=True)
    model.fit(x, (y, y, y), verbose=0)
    for name, kernel in zip(("head", "auxiliary1_head", "auxiliary2_head"), before, strict=True):
        assert np.abs(model.get_layer(name).kernel - kernel).max() > 0
    with pytest.raises(ArgumentError, match="a model of 3 outputs must have a loss for each"):
        kerasdl.train.fit(model, (x, y), task="image_classification")
    with pytest.raises(ArgumentError, match="four blocks or more in stage 4"):
        kerasdl.build("googlenet", stages=((ROW,),), auxiliary=True)


def test_googlenets_last_pooling_may_hang_over_the_edge():
    """Five places become three, as by torchvision's ceil_mode."""
    image = keras.Input((5, 5, 1))
    pool = keras.Model(image, googlenet.ceil_pool(image, 2, name="pool"))
    x = np.zeros((1, 5, 5, 1), "float32")
    x[0, 4, 4] = 7.0
    assert pool(x)[0, :, :, 0].numpy().tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 7]]


BROKEN = {
    "vit_tiny": [("depth", -1), ("drop_path", 1.5), ("dropout", 1.5), ("width", 0)],
    "deit_tiny": [("depth", 0), ("dropout", 1.5)],
    "mlp_mixer_s16": [("depth", 0), ("drop_path", 1.0), ("dropout", 1.5)],
    "vit_hybrid": [("depth", 0), ("stages", ())],
    "swin_tiny": [("stages", ()), ("width", 0), ("drop_path", -0.1)],
    "resnet50": [("stages", ()), ("stages", (1, 0))],
    "resnet50_keras": [("bottleneck", False)],
    "resnet50_v2": [("stages", (1.5,))],
    "densenet121": [("stages", ())],
    "convnext_tiny": [("stages", (0, 1))],
    "shufflenet_v2": [("stages", ())],
    "nonlocal_resnet50": [("places", ("stage9_block1",))],
    "efficientnet_b0": [("last_channels", 0), ("drop_path", 2.0)],
    "efficientnet_v2_b0": [("last_channels", -8)],
    "mobilenet_v2": [("last_channels", 0)],
    "mobilenet_v3_small": [("last_channels", 0)],
}


@pytest.mark.parametrize(("name", "setting", "value"), [(n, s, v) for n, pairs in BROKEN.items() for s, v in pairs])
def test_settings_out_of_range_are_named(name, setting, value):
    with pytest.raises(ArgumentError, match="a place" if setting == "places" else setting):
        kerasdl.build(name, **{**kerasdl.spec(name).tiny, setting: value})


@pytest.mark.parametrize("name", ["se_resnet50", "cbam_resnet50"])
def test_gates_of_narrow_nets_keep_a_channel(name):
    model = kerasdl.build(name, **{**kerasdl.spec(name).tiny, "reduction": 64})
    assert min(layer.filters for layer in model.layers if "squeeze" in layer.name) == 1


def test_a_distilled_net_answers_with_the_mean_of_its_heads(tiny):
    model = tiny("deit_base_distilled")
    apart = keras.Model(model.input, [model.get_layer(name).output for name in ("head", "distillation_head")])
    x = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype("float32")
    one, other = (each.numpy() for each in apart(x, training=False))
    assert np.abs(one - other).max() > 1e-2
    np.testing.assert_allclose(model(x, training=False), (one + other) / 2, atol=1e-6)


def test_a_new_head_of_a_distilled_net_reads_the_class_token(tiny):
    fresh = kerasdl.blocks.replace_head(tiny("deit_base_distilled"), 7)
    assert fresh.output_shape == (None, 7)
    assert "distillation_head" not in [layer.name for layer in fresh.layers]


def test_drop_path_rises_with_depth_and_leaves_inference_alone():
    settings = dict(kerasdl.spec("vit_tiny").tiny, depth=3)
    plain = fill_weights(kerasdl.build("vit_tiny", **settings))
    dropped = kerasdl.build("vit_tiny", **settings, drop_path=0.4)
    dropped.set_weights(plain.get_weights())
    rates = [layer.rate for layer in dropped.layers if isinstance(layer, kerasdl.layers.DropPath)]
    assert rates == pytest.approx([0.2, 0.2, 0.4, 0.4])
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_allclose(dropped(x, training=False), plain(x, training=False), atol=1e-5)


# How many branches of its tiny net's last block fall away together with it.
DROPPING = {"convnext_tiny": 1, "swin_tiny": 2, "swin_v2_tiny": 2, "mlp_mixer_s16": 2, "deit_tiny": 2, "vit_tiny": 2}


@pytest.mark.parametrize("name", DROPPING)
def test_drop_path_trains(name):
    """Each example takes one way or the other through the last block: every answer is one of few."""
    model = fill_weights(kerasdl.build(name, **{**kerasdl.spec(name).tiny, "drop_path": 0.5, "dropout": 0.0}))
    rates = [layer.rate for layer in model.layers if isinstance(layer, kerasdl.layers.DropPath)]
    assert rates[-1] == 0.5
    assert rates == sorted(rates)
    last = [layer for layer in model.layers if isinstance(layer, kerasdl.layers.DropPath) and layer.rate == 0.5]
    assert len(last) == DROPPING[name]
    x = np.random.default_rng(0).normal(size=(1, *model.input_shape[1:])).astype("float32").repeat(64, 0)
    answers = np.unique(model(x, training=True).numpy().round(3), axis=0)
    assert len(answers) > 1
    again = model(x, training=False).numpy()
    np.testing.assert_allclose(again, again[:1].repeat(64, 0), atol=1e-5)


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_v2_b0"])
def test_drop_path_of_blocks_with_shortcuts(name):
    """The tiny nets have no block whose shape stays, so none to leave out: one more repeat makes one."""
    tiny = kerasdl.spec(name).tiny
    stages = [list(row) for row in tiny["stages"]]
    stages[-1][3 if "v2" in name else 2] = 2
    model = kerasdl.build(name, **{**tiny, "stages": stages, "drop_path": 0.5, "dropout": 0.0})
    dropping = [layer for layer in model.layers if isinstance(layer, kerasdl.layers.DropPath)]
    assert dropping[-1].rate == 0.5
    assert len({layer.rate for layer in dropping}) == len(dropping)


def test_swin_takes_sides_that_are_no_multiple_of_its_window():
    """Padding changes nothing where it falls away: 28 tokens in windows of 7 need none."""
    model = fill_weights(
        kerasdl.build("swin_tiny", image_shape=(60, 44, 3), classes=3, width=16, stages=(2,), heads=(2,))
    )
    assert model.get_layer("stage1_block1_attention_windows").output.shape == (None, 6, 49, 16)
    x = np.random.default_rng(0).normal(size=(1, 60, 44, 3)).astype("float32")
    assert np.isfinite(model(x, training=False)).all()
    with pytest.raises(ArgumentError, match="multiples of the patch, 4"):
        kerasdl.build("swin_tiny", image_shape=(30, 32, 3))
    with pytest.raises(ArgumentError, match="one length"):
        kerasdl.build("swin_tiny", stages=(1, 1), heads=(2,))


def test_patch_merging_joins_neighbours():
    image = keras.Input((3, 4, 2))
    model = keras.Model(image, swin.patch_merging(image, name="m"))
    joined = keras.Model(image, model.get_layer("m_join").output)
    x = np.arange(24.0).reshape(1, 3, 4, 2).astype("float32")
    padded = np.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0)))
    expected = np.concatenate([padded[:, a::2, b::2] for a in (0, 1) for b in (0, 1)], -1)
    np.testing.assert_array_equal(joined(x), expected)


def test_the_last_pooling_window_may_hang_over_the_edge():
    """Caffe rounds sizes up where others round down: 54 pixels give 27 and not 26."""
    with unallocated():
        features = squeezenet.squeezenet_features(keras.Input((224, 224, 3)), version=squeezenet.VERSION_1_0)
    assert [each.shape[1] for each in features.values()] == [109, 54, 27, 13]


def test_resnet_v2_strides_at_the_end_of_a_stage():
    with unallocated():
        features = resnet_v2.resnet_v2_features(keras.Input((64, 64, 3)))
    assert {name: each.shape[1] for name, each in features.items()} == {
        "stride2": 32,
        "stride4": 16,
        "stride8": 8,
        "stride16": 4,
        "stride32": 2,
    }
