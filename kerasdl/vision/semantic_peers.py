"""Name maps from kerasdl layers to checkpoints of DeepLabV3 and LR-ASPP of torchvision, and of SegFormer."""

import re
from collections.abc import Callable, Sequence

from .detector_peers import BLOCK_PARTS, IMAGENET, MODULES, in_resnet, scaled
from .peers import PeerMap

PLACES = {"conv": 0, "bn": 1}


def _in_deeplab(layer: str, layers: Sequence[str]) -> str | None:
    """Returns the name of a layer of DeepLabV3, whose branches are numbered: 1x1, each rate, the image."""
    match = re.fullmatch(r"aspp_(1x1|rate\d+|image|project)_(conv|bn)", layer)
    if not match:
        return in_resnet("backbone", layer)
    branch, part = match[1], PLACES[match[2]]
    if branch == "project":
        return f"classifier.0.project.{part}"
    if branch == "image":  # its module begins with the pooling
        part += 1
    rates = sorted({int(each) for each in re.findall(r"^aspp_rate(\d+)_", "\n".join(layers), re.MULTILINE)})
    branches = ["1x1", *(f"rate{rate}" for rate in rates), "image"]
    return f"classifier.0.convs.{branches.index(branch)}.{part}"


DEEPLAB_V3 = PeerMap(
    "classifier.0.convs",
    (
        ("refine_conv", "classifier.1"),
        ("refine_bn", "classifier.2"),
        ("logits", "classifier.4"),
        ("auxiliary_reduce_conv", "aux_classifier.0"),
        ("auxiliary_reduce_bn", "aux_classifier.1"),
        ("auxiliary", "aux_classifier.4"),
    ),
    flat=_in_deeplab,
    heads="logits|auxiliary",
    network="deeplab_v3",
    symmetric=True,
    preprocess=scaled(**IMAGENET),
)


def _in_mobilenet_v3(layer: str, layers: Sequence[str]) -> str | None:
    """Returns the name of a layer of MobileNetV3, whose checkpoints number its blocks between stem and last layer."""
    match = re.fullmatch(r"(stem|last)_(conv|bn)", layer)
    if match:
        blocks = {int(each) for each in re.findall(r"^block(\d+)_", "\n".join(layers), re.MULTILINE)}
        return f"backbone.{ {'stem': 0, 'last': max(blocks) + 1}[match[1]] }.{PLACES[match[2]]}"
    match = re.fullmatch(r"block(\d+)_(expand|depthwise|se|project)_(conv|bn|squeeze|excite)", layer)
    if not match:
        return None
    block, part, module = match[1], match[2], MODULES[match[3]]
    parts = [each for each in BLOCK_PARTS if any(name.startswith(f"block{block}_{each}_") for name in layers)]
    return f"backbone.{block}.block.{parts.index(part)}.{module}"


LRASPP = PeerMap(
    "classifier.cbr",
    (
        ("project_conv", "classifier.cbr.0"),
        ("project_bn", "classifier.cbr.1"),
        ("gate_conv", "classifier.scale.1"),
        ("fine_logits", "classifier.low_classifier"),
        ("coarse_logits", "classifier.high_classifier"),
    ),
    flat=_in_mobilenet_v3,
    heads="(fine|coarse)_logits",
    network="lraspp",
    symmetric=True,
    preprocess=scaled(**IMAGENET),
)


def _mix_transformer(prefix: str, network: str, *heads: tuple[str, str | Callable[..., str]]) -> PeerMap:
    start = "segformer.encoder"

    def of_stage(what: str) -> Callable[[int], str]:
        return lambda stage: f"{start}.{what.format(stage - 1)}"

    def in_block(what: str) -> Callable[[int, int], str]:
        return lambda stage, block: f"{start}.block.{stage - 1}.{block - 1}.{what}"

    ends = {
        "attention_norm": "layer_norm_1",
        "attention": "attention",
        "attention_reduce_conv": "attention.self.sr",
        "attention_reduce_norm": "attention.self.layer_norm",
        "mlp_norm": "layer_norm_2",
        "mlp_expand": "mlp.dense1",
        "mlp_depthwise": "mlp.dwconv.dwconv",
        "mlp_project": "mlp.dense2",
    }
    return PeerMap(
        prefix,
        (
            (r"stage(\d+)_patch_conv", of_stage("patch_embeddings.{}.proj")),
            (r"stage(\d+)_patch_norm", of_stage("patch_embeddings.{}.layer_norm")),
            (r"stage(\d+)_norm", of_stage("layer_norm.{}")),
            *((rf"stage(\d+)_block(\d+)_{ours}", in_block(theirs)) for ours, theirs in ends.items()),
            *heads,
        ),
        heads="logits|head",
        attention={"query": "self.query", "key": "self.key", "value": "self.value", "output": "output.dense"},
        network=network,
        symmetric=True,
        preprocess=scaled(**IMAGENET),
    )


MIX_TRANSFORMER = _mix_transformer("segformer.encoder", "mix_transformer", ("head", "classifier"))
SEGFORMER = _mix_transformer(
    "decode_head",
    "segformer",
    (r"stride(\d+)_project", lambda stride: f"decode_head.linear_c.{stride.bit_length() - 3}.proj"),
    ("fuse_conv", "decode_head.linear_fuse"),
    ("fuse_bn", "decode_head.batch_norm"),
    ("logits", "decode_head.classifier"),
)
