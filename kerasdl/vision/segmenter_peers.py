"""Name maps from kerasdl layers to checkpoints of segmenters: torchvision, segmentation_models_pytorch."""

import re
from collections.abc import Callable, Sequence

from .detector_peers import IMAGENET, in_resnet, scaled
from .peers import PeerMap


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
