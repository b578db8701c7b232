"""Name maps from kerasdl layers to PyTorch checkpoints of Hugging Face and of the authors, by architecture.

Those of detectors are in detector_peers.py.
"""

import re
from collections.abc import Callable, Sequence

from kerasdl.core.registry.peer_map import PeerMap


def _vit(prefix: str, *heads: tuple[str, str]) -> PeerMap:
    def in_block(what: str) -> Callable[[int], str]:
        return lambda block: f"{prefix}.encoder.layer.{block - 1}.{what}"

    return PeerMap(
        prefix,
        (
            ("patch_conv", f"{prefix}.embeddings.patch_embeddings.projection"),
            ("class_token", f"{prefix}.embeddings.cls_token"),
            ("distillation_token", f"{prefix}.embeddings.distillation_token"),
            ("position", f"{prefix}.embeddings.position_embeddings"),
            (r"block(\d+)_attention_norm", in_block("layernorm_before")),
            (r"block(\d+)_attention", in_block("attention")),
            (r"block(\d+)_mlp_norm", in_block("layernorm_after")),
            (r"block(\d+)_mlp_expand", in_block("intermediate.dense")),
            (r"block(\d+)_mlp_project", in_block("output.dense")),
            ("norm", f"{prefix}.layernorm"),
            *heads,
        ),
    )


VIT = _vit("vit", ("head", "classifier"))
DEIT = _vit("deit", ("head", "cls_classifier"), ("distillation_head", "distillation_classifier"))


def _swin(prefix: str, merged: str) -> PeerMap:
    def in_block(what: str) -> Callable[[int, int], str]:
        return lambda stage, block: f"{prefix}.encoder.layers.{stage - 1}.blocks.{block - 1}.{what}"

    block = r"stage(\d+)_block(\d+)_"
    return PeerMap(
        prefix,
        (
            ("patch_conv", f"{prefix}.embeddings.patch_embeddings.projection"),
            ("patch_norm", f"{prefix}.embeddings.norm"),
            (f"{block}attention_norm", in_block("layernorm_before")),
            (f"{block}attention", in_block("attention")),
            (f"{block}mlp_norm", in_block("layernorm_after")),
            (f"{block}mlp_expand", in_block("intermediate.dense")),
            (f"{block}mlp_project", in_block("output.dense")),
            # In checkpoints the merge ends the stage before.
            (r"stage(\d+)_merge_norm", lambda stage: f"{prefix}.encoder.layers.{stage - 2}.downsample.norm"),
            (r"stage(\d+)_merge_reduce", lambda stage: f"{prefix}.encoder.layers.{stage - 2}.downsample.reduction"),
            ("norm", f"{prefix}.layernorm"),
            ("head", "classifier"),
        ),
        merged=merged,
    )


SWIN = _swin("swin", r"stage\d+_merge_(norm|reduce)")
SWIN_V2 = _swin("swinv2", r"stage\d+_merge_reduce")


def _in_convnext(what: str) -> Callable[[int, int], str]:
    return lambda stage, block: f"convnext.encoder.stages.{stage - 1}.layers.{block - 1}.{what}"


CONVNEXT = PeerMap(
    "convnext",
    (
        ("stem_conv", "convnext.embeddings.patch_embeddings"),
        ("stem_norm", "convnext.embeddings.layernorm"),
        (r"stage(\d+)_down_norm", lambda stage: f"convnext.encoder.stages.{stage - 1}.downsampling_layer.0"),
        (r"stage(\d+)_down_conv", lambda stage: f"convnext.encoder.stages.{stage - 1}.downsampling_layer.1"),
        (r"stage(\d+)_block(\d+)_depthwise_conv", _in_convnext("dwconv")),
        (r"stage(\d+)_block(\d+)_norm", _in_convnext("layernorm")),
        (r"stage(\d+)_block(\d+)_expand", _in_convnext("pwconv1")),
        (r"stage(\d+)_block(\d+)_project", _in_convnext("pwconv2")),
        (r"stage(\d+)_block(\d+)_scale", _in_convnext("layer_scale_parameter")),
        ("norm", "convnext.layernorm"),
        ("head", "classifier"),
    ),
)
PARTS = {"conv": "convolution", "bn": "normalization"}


def in_residual(prefix: str, layer: str, layers: Sequence[str]) -> str | None:
    """Returns the name of a layer of ResNet or RegNet, whose checkpoints number the parts of a block."""
    match = re.fullmatch(r"stage(\d+)_block(\d+)_(\w+?)_(conv|bn|squeeze|excite)", layer)
    if not match:
        return None
    stage, block, place, part = match.groups()
    start = f"{prefix}.encoder.stages.{int(stage) - 1}.layers.{int(block) - 1}"
    if place == "shortcut":
        return f"{start}.shortcut.{PARTS[part]}"
    if place == "se":
        return f"{start}.layer.2.attention.{ {'squeeze': 0, 'excite': 2}[part] }"
    number = int(place) - 1
    squeezed = f"stage{stage}_block{block}_se_squeeze" in layers
    return f"{start}.layer.{number + (squeezed and number == 2)}.{PARTS[part]}"


def _residual(prefix: str) -> PeerMap:
    rows = (
        ("stem_conv", f"{prefix}.embedder.embedder.convolution"),
        ("stem_bn", f"{prefix}.embedder.embedder.normalization"),
        ("head", "classifier.1"),
    )
    return PeerMap(prefix, rows, flat=lambda layer, layers: in_residual(prefix, layer, layers))


RESNET, REGNET = _residual("resnet"), _residual("regnet")


def _through(layer: str, layers: Sequence[str]) -> tuple[int, str, str] | None:
    """Returns the number of a layer's block in the whole net, from 0, and the place and part in its name."""
    match = re.fullmatch(r"(stage\d+_block\d+)_(\w+?)_(conv|bn|squeeze|excite)", layer)
    if not match:
        return None
    blocks = list(dict.fromkeys(re.findall(r"^stage\d+_block\d+", "\n".join(layers), re.MULTILINE)))
    return blocks.index(match[1]), match[2], match[3]


def _in_mobilenet_v2(layer: str, layers: Sequence[str]) -> str | None:
    where = _through(layer, layers)
    if where is None:
        return None
    block, place, part = where
    start = f"mobilenet_v2.layer.{block - 1}" if block else "mobilenet_v2.conv_stem"
    return (
        f"{start}.{ {'expand': 'expand_1x1', 'depthwise': 'conv_3x3', 'project': 'reduce_1x1'}[place] }.{PARTS[part]}"
    )


MOBILENET_V2 = PeerMap(
    "mobilenet_v2",
    (
        ("stem_conv", "mobilenet_v2.conv_stem.first_conv.convolution"),
        ("stem_bn", "mobilenet_v2.conv_stem.first_conv.normalization"),
        ("last_conv", "mobilenet_v2.conv_1x1.convolution"),
        ("last_bn", "mobilenet_v2.conv_1x1.normalization"),
        ("head", "classifier"),
    ),
    flat=_in_mobilenet_v2,
)
MOBILENET_V1 = PeerMap(
    "mobilenet_v1",
    (
        ("stem_conv", "mobilenet_v1.conv_stem.convolution"),
        ("stem_bn", "mobilenet_v1.conv_stem.normalization"),
        (r"block(\d+)_depthwise_conv", lambda block: f"mobilenet_v1.layer.{2 * block - 2}.convolution"),
        (r"block(\d+)_depthwise_bn", lambda block: f"mobilenet_v1.layer.{2 * block - 2}.normalization"),
        (r"block(\d+)_pointwise_conv", lambda block: f"mobilenet_v1.layer.{2 * block - 1}.convolution"),
        (r"block(\d+)_pointwise_bn", lambda block: f"mobilenet_v1.layer.{2 * block - 1}.normalization"),
        ("head", "classifier"),
    ),
)
IN_EFFICIENTNET = {
    ("expand", "conv"): "expansion.expand_conv",
    ("expand", "bn"): "expansion.expand_bn",
    ("depthwise", "conv"): "depthwise_conv.depthwise_conv",
    ("depthwise", "bn"): "depthwise_conv.depthwise_norm",
    ("se", "squeeze"): "squeeze_excite.reduce",
    ("se", "excite"): "squeeze_excite.expand",
    ("project", "conv"): "projection.project_conv",
    ("project", "bn"): "projection.project_bn",
}


def _in_efficientnet(layer: str, layers: Sequence[str]) -> str | None:
    where = _through(layer, layers)
    return where and f"efficientnet.encoder.blocks.{where[0]}.{IN_EFFICIENTNET[where[1:]]}"


EFFICIENTNET = PeerMap(
    "efficientnet",
    (
        ("stem_conv", "efficientnet.embeddings.convolution"),
        ("stem_bn", "efficientnet.embeddings.batchnorm"),
        ("last_conv", "efficientnet.encoder.top_conv"),
        ("last_bn", "efficientnet.encoder.top_bn"),
        ("head", "classifier"),
    ),
    flat=_in_efficientnet,
)


def _in_efficientnet_lite(layer: str, layers: Sequence[str]) -> str | None:
    where = _through(layer, layers)
    if where is None:
        return None
    block, place, part = where
    number = {"expand": 0, "depthwise": 1, "project": 2}[place]
    return f"_blocks.{block}.{f'_{place}_conv' if part == 'conv' else f'_bn{number}'}"


EFFICIENTNET_LITE = PeerMap(
    "_blocks",
    (
        ("stem_conv", "_conv_stem"),
        ("stem_bn", "_bn0"),
        ("last_conv", "_conv_head"),
        ("last_bn", "_bn1"),
        ("head", "_fc"),
    ),
    flat=_in_efficientnet_lite,
)
