"""Name maps from kerasdl layers to checkpoints of segmenters: torchvision, segmentation_models, transformers."""

import re
from collections.abc import Callable, Sequence

from kerasdl.core.registry.peer_map import PeerMap

from .detector_peers import BLOCK_PARTS, IMAGENET, MODULES, in_resnet, scaled


def _of_torchvision(network: str, head: Callable[[str, str], str | None]) -> PeerMap:
    """Map of a segmenter of torchvision, whose heads are lists of modules after the ResNet.

    Args:
        network: name of the network here.
        head: function from a layer and the checkpoint's name of the head to the layer's name there.
    """
    return PeerMap(
        "classifier",
        (
            ("auxiliary_reduce_conv", "aux_classifier.0"),
            ("auxiliary_reduce_bn", "aux_classifier.1"),
            ("auxiliary", "aux_classifier.4"),
        ),
        flat=lambda layer, layers: in_resnet("backbone", layer) or head(layer, "classifier"),
        heads="logits|auxiliary",
        network=network,
        symmetric=True,
        preprocess=scaled(**IMAGENET),
    )


IN_FCN = {"logits_reduce_conv": "0", "logits_reduce_bn": "1", "logits": "4"}
FCN_RESNET = _of_torchvision("fcn_resnet", lambda layer, head: f"{head}.{IN_FCN[layer]}" if layer in IN_FCN else None)
# Places of convolution and normalisation in a list of modules.
PLACES = {"conv": 0, "bn": 1}
STEPS = {"reduce": 0, "up": 1, "expand": 2}


def _decoder_of(network: str, decoder: Callable[[str, int], str | None]) -> PeerMap:
    """Map of a segmenter of segmentation_models over a ResNet.

    Args:
        network: name of the network here.
        decoder: function from a layer and the number of levels to the layer's name in the decoder there.
    """

    def flat(layer: str, layers: Sequence[str]) -> str | None:
        within = in_resnet("encoder", layer)
        found = re.findall(r"^(?:decoder|stage)(\d+)_", "\n".join(layers), re.MULTILINE)
        place = decoder(layer, max(map(int, found))) if within is None else None
        return within or (place and f"decoder.blocks.{place}")

    return PeerMap(
        "decoder.blocks",
        (("logits", "segmentation_head.0"),),
        flat=flat,
        heads="logits",
        network=network,
        symmetric=True,
        preprocess=scaled(**IMAGENET),
    )


def _in_unet(layer: str, levels: int) -> str | None:
    match = re.fullmatch(r"decoder(\d+)_([12])_(conv|bn)", layer)
    return match and f"{levels - int(match[1])}.conv{match[2]}.{PLACES[match[3]]}"


def _in_unet_plus_plus(layer: str, levels: int) -> str | None:
    """Levels are those of the ResNet's four stages and its stem; the grid there is numbered from its coarsest row."""
    match = re.fullmatch(r"(?:x(\d+)_(\d+)|decoder1)_([12])_(conv|bn)", layer)
    if not match:
        return None
    row = levels - int(match[1]) if match[1] else levels
    column = row - int(match[2]) + 1 if match[2] else 0
    return f"x_{column}_{row}.conv{match[3]}.{PLACES[match[4]]}"


def _in_linknet(layer: str, levels: int) -> str | None:
    match = re.fullmatch(r"decoder(\d+)_(reduce|up|expand)_(conv|bn)", layer)
    return match and f"{levels - int(match[1])}.block.{STEPS[match[2]]}.{PLACES[match[3]]}"


UNET = _decoder_of("unet_on_backbone", _in_unet)
UNET_PLUS_PLUS = _decoder_of("unet_plus_plus", _in_unet_plus_plus)
LINKNET = _decoder_of("linknet", _in_linknet)


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
