"""Checkpoints of Hugging Face in our nets: both give the same logits. Peers are built here, with random weights."""

import json
import struct

import numpy as np
import pytest
from peer_files import write_safetensors

import kerasdl
from kerasdl.core import ArgumentError, WeightsError, safetensors

# Our net and its arguments; their class, its config, and the side of an image.
ARCHITECTURES = {
    "vit": (
        ("vit_tiny", dict(patch=8, width=32, depth=2, heads=2)),
        ("ViT", dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, patch_size=8)),
        32,
    ),
    "deit": (
        ("deit_tiny_distilled", dict(patch=8, width=32, depth=2, heads=2)),
        ("DeiT", dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, patch_size=8)),
        32,
    ),
    "swin": (
        ("swin_tiny", dict(width=16, stages=(2, 1), heads=(2, 4), window=4)),
        ("Swin", dict(embed_dim=16, depths=[2, 1], num_heads=[2, 4], window_size=4)),
        32,
    ),
    "swin_v2": (
        ("swin_v2_tiny", dict(width=16, stages=(2, 1), heads=(2, 4), window=4)),
        ("Swinv2", dict(embed_dim=16, depths=[2, 1], num_heads=[2, 4], window_size=4)),
        32,
    ),
    "convnext": (
        ("convnext_tiny", dict(stages=(1, 2), channels=(16, 24))),
        ("ConvNext", dict(hidden_sizes=[16, 24], depths=[1, 2], num_stages=2)),
        32,
    ),
    "resnet50": (
        ("resnet50", dict(stages=(1, 2), channels=8)),
        ("ResNet", dict(embedding_size=8, hidden_sizes=[32, 64], depths=[1, 2])),
        32,
    ),
    "resnet18": (
        ("resnet18", dict(stages=(1, 2), channels=8)),
        ("ResNet", dict(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], layer_type="basic")),
        32,
    ),
    "regnet_x": (
        ("regnet_x_400mf", dict(line=(3, 16, 8.0, 2.0, 8), stem=8)),
        ("RegNet", dict(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 2], groups_width=8, layer_type="x")),
        32,
    ),
    "regnet_y": (
        ("regnet_y_400mf", dict(line=(3, 16, 8.0, 2.0, 8), stem=8)),
        ("RegNet", dict(embedding_size=8, hidden_sizes=[16, 32], depths=[1, 2], groups_width=8, layer_type="y")),
        32,
    ),
    "mobilenet_v1": (("mobilenet_025", {}), ("MobileNetV1", dict(depth_multiplier=0.25)), 64),
    "mobilenet_v2": (("mobilenet_v2_035", {}), ("MobileNetV2", dict(depth_multiplier=0.35)), 64),
    "efficientnet": (
        ("efficientnet_b0", {}),
        ("EfficientNet", dict(width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280)),
        64,
    ),
}
REASON = "torch and transformers are needed to build the peer"


def randomised(peer, torch):
    generator = torch.Generator().manual_seed(0)

    def drawn(shape):
        return torch.randn(shape, generator=generator)

    with torch.no_grad():
        for name, value in peer.state_dict().items():
            if "running_var" in name:
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            elif "logit_scale" in name:
                value.copy_(1.0 + 0.3 * drawn(value.shape))
            elif value.dtype.is_floating_point and value.ndim > 1:
                fan_in = value[0].numel() if "token" not in name and "position" not in name else 4
                value.copy_(drawn(value.shape) * (2.0 / fan_in) ** 0.5)
            elif value.dtype.is_floating_point and name.endswith("weight"):
                value.copy_(1.0 + 0.1 * drawn(value.shape))
            elif value.dtype.is_floating_point:
                value.copy_(0.3 * drawn(value.shape))
    return peer.eval()


@pytest.fixture
def peer_of(tmp_path):
    """Builds a peer with random weights, and writes it as the hub holds it."""
    torch = pytest.importorskip("torch", reason=REASON)
    transformers = pytest.importorskip("transformers", reason=REASON)

    def make(name, settings, side):
        config = getattr(transformers, f"{name}Config")(image_size=side, num_labels=5, **settings)
        head = "ForImageClassificationWithTeacher" if name == "DeiT" else "ForImageClassification"
        peer = randomised(getattr(transformers, name + head)(config), torch)
        peer.save_pretrained(tmp_path)
        return lambda x: peer(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).logits.detach().numpy()

    return make


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_agree(name, peer_of, tmp_path):
    (ours, arguments), (theirs, settings), side = ARCHITECTURES[name]
    answer = peer_of(theirs, settings, side)
    model = kerasdl.build(ours, image_shape=(side, side, 3), classes=5, **arguments)
    report = kerasdl.import_weights(model, tmp_path)
    assert report.head
    assert report.numbers == model.count_params()
    x = np.random.default_rng(0).normal(size=(2, side, side, 3)).astype("float32")
    expected = answer(x)
    assert np.std(expected) > 1e-3
    np.testing.assert_allclose(model(x, training=False), expected, rtol=0, atol=1e-4 * max(1.0, np.abs(expected).max()))


def vit_arrays(width=8, side=2, classes=3, blocks=1):
    rng = np.random.default_rng(0)
    shapes = {
        "vit.embeddings.cls_token": (1, 1, width),
        "vit.embeddings.position_embeddings": (1, side**2 + 1, width),
        "vit.embeddings.patch_embeddings.projection.weight": (width, 3, 4, 4),
        "vit.embeddings.patch_embeddings.projection.bias": (width,),
        "vit.layernorm.weight": (width,),
        "vit.layernorm.bias": (width,),
        "classifier.weight": (classes, width),
        "classifier.bias": (classes,),
    }
    for block in range(blocks):
        start = f"vit.encoder.layer.{block}"
        dense = {
            **{f"attention.attention.{part}": (width, width) for part in ("query", "key", "value")},
            **{"attention.output.dense": (width, width), "intermediate.dense": (4 * width, width)},
            **{"output.dense": (width, 4 * width), "layernorm_before": (width,), "layernorm_after": (width,)},
        }
        for part, shape in dense.items():
            shapes[f"{start}.{part}.weight"], shapes[f"{start}.{part}.bias"] = shape, shape[:1]
    return {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}


def vit(classes=3, **arguments):
    form = dict(image_shape=(8, 8, 3), patch=4, width=8, depth=1, heads=2)
    return kerasdl.build("vit_tiny", classes=classes, **{**form, **arguments})


def test_every_array_reaches_its_place_without_torch(tmp_path):
    arrays = vit_arrays()
    write_safetensors(tmp_path / "model.safetensors", arrays)
    model = vit()
    assert kerasdl.import_weights(model, tmp_path).numbers == sum(array.size for array in arrays.values())
    query = model.get_layer("block1_attention").query_dense.kernel.numpy()
    np.testing.assert_array_equal(query.reshape(8, 8), arrays["vit.encoder.layer.0.attention.attention.query.weight"].T)
    patches = arrays["vit.embeddings.patch_embeddings.projection.weight"]
    np.testing.assert_array_equal(model.get_layer("patch_conv").kernel.numpy()[1, 2, 0], patches[:, 0, 1, 2])


def test_half_precision_and_parts(tmp_path):
    arrays = vit_arrays()
    names = list(arrays)
    rounded = {name: (arrays[name].view("uint32") >> 16).astype("uint16") for name in names[:5]}
    write_safetensors(tmp_path / "one.safetensors", rounded)
    write_safetensors(tmp_path / "two.safetensors", {name: arrays[name].astype("float16") for name in names[5:]})
    parts = {name: "one.safetensors" if name in rounded else "two.safetensors" for name in names}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    model = vit()
    kerasdl.import_weights(model, tmp_path)
    np.testing.assert_allclose(model.get_layer("class_token").token, arrays[names[0]], rtol=2**-7)
    np.testing.assert_allclose(model.get_layer("head").kernel, arrays["classifier.weight"].T, rtol=2**-10)


def test_positions_of_another_size_are_resized_and_the_report_says_so(tmp_path):
    arrays = vit_arrays(side=2)
    arrays["vit.embeddings.position_embeddings"][:, 1:] = 0.7  # whatever is resized stays what it is
    write_safetensors(tmp_path / "model.safetensors", arrays)
    model = vit(image_shape=(16, 16, 3))
    report = kerasdl.import_weights(model, tmp_path)
    assert "2x2 to 4x4" in str(report)
    position = model.get_layer("position").position.numpy()
    np.testing.assert_allclose(position[:, 1:], 0.7, atol=1e-6)
    np.testing.assert_array_equal(position[:, :1], arrays["vit.embeddings.position_embeddings"][:, :1])


def test_what_does_not_fit_is_named_and_nothing_is_taken(tmp_path):
    write_safetensors(tmp_path / "model.safetensors", vit_arrays(width=16))
    model = vit()
    before = model.get_weights()
    with pytest.raises(WeightsError, match=r"'patch_conv' with weights.*\(4, 4, 3, 8\).*\(4, 4, 3, 16\)"):
        kerasdl.import_weights(model, tmp_path)
    write_safetensors(tmp_path / "model.safetensors", {k: v for k, v in vit_arrays().items() if "key.bias" not in k})
    with pytest.raises(
        WeightsError, match=r"block1_attention.*no array 'vit.encoder.layer.0.attention.attention.key.bias"
    ):
        kerasdl.import_weights(model, tmp_path)
    with pytest.raises(WeightsError, match=r"'stem_conv'.*no layer of that kind"):
        kerasdl.import_weights(kerasdl.build("resnet18", **kerasdl.spec("resnet18").tiny), tmp_path)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_head_for_other_classes_stays_fresh(tmp_path):
    write_safetensors(tmp_path / "model.safetensors", vit_arrays(classes=3))
    model = vit(classes=9)
    assert not kerasdl.import_weights(model, tmp_path).head


def test_pixels_are_prepared_as_the_checkpoint_says(tmp_path):
    write_safetensors(tmp_path / "model.safetensors", vit_arrays())
    said = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.25, 0.5], "rescale_factor": 1 / 255}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    low, high = kerasdl.import_weights(vit(), tmp_path).preprocess["scale"]
    np.testing.assert_allclose(low, [-2.5, -1.6, -0.6])
    np.testing.assert_allclose(high, [2.5, 2.4, 1.4])


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:4],
        lambda data: struct.pack("<Q", 2**60) + data[8:],
        lambda data: data[:8] + b"[" + data[9:],
        lambda data: data[:-3],
        lambda data: data.replace(b'"F32"', b'"F99"', 1),
        lambda data: data.replace(b'"shape": [1, 1, 8]', b'"shape": [1, 1, 9]', 1),
        lambda data: data.replace(b'"shape": [1, 1, 8]', b'"shape": [1,-1,-8]', 1),
    ],
)
def test_damaged_files_are_refused(damage, tmp_path):
    write_safetensors(tmp_path / "model.safetensors", vit_arrays())
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(damage(whole))
    with pytest.raises(WeightsError, match="safetensors"):
        safetensors.read(tmp_path)


def test_other_checkpoints_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"must hold model\.safetensors"):
        kerasdl.import_weights(vit(), tmp_path)
    write_safetensors(tmp_path / "model.safetensors", {"bert.x": np.zeros(3, "float32")})
    with pytest.raises(ArgumentError, match="must be of one of the architectures"):
        kerasdl.import_weights(vit(), tmp_path)
