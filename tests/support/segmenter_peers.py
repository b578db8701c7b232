"""Segmenters of torchvision and segmentation_models beside ours: weights by a formula, and the logits of an image.

`python tests/support/segmenter_peers.py` writes tests/frozen/segmenters/ anew; it needs torch, torchvision,
segmentation_models_pytorch.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detector_peers import array_of

FROZEN = Path(__file__).parents[1] / "frozen" / "segmenters"
CLASSES = 3
LOGITS = 400
"""Numbers of each map of logits that a frozen file holds."""
SHALLOW = {"backbone_settings": {"stages": (1, 1, 1, 1)}}
BASIC = {"backbone_settings": {"stages": (1, 1, 1, 1), "bottleneck": False}}


@dataclass(frozen=True)
class Case:
    """A segmenter here and there, small or of full size."""

    ours: str
    arguments: dict
    peer: str
    size: tuple[int, int]
    package: str = "torchvision"
    """Package of the peer."""


SMP = "segmentation_models_pytorch"
SMALL = {
    "fcn_resnet50": Case("fcn_resnet50", {**SHALLOW, "auxiliary": True}, "small_fcn", (75, 90)),
    "unet_resnet34": Case("unet_resnet34", BASIC, "small_unet", (64, 96), SMP),
    "unet_plus_plus": Case("unet_plus_plus", BASIC, "small_unet_plus_plus", (64, 96), SMP),
    "linknet": Case("linknet", BASIC, "small_linknet", (64, 96), SMP),
}
FULL = {
    "fcn_resnet50": Case("fcn_resnet50", {"auxiliary": True}, "fcn", (129, 160)),
    "unet_resnet34": Case("unet_resnet34", {}, "unet", (128, 160), SMP),
}


def image_of(case: Case) -> np.ndarray:
    """Returns the image (H, W, 3) that both nets take."""
    return np.random.default_rng(7).normal(0.0, 0.5, (*case.size, 3)).astype("float32")


def peer_of(case: Case):
    """Returns the peer of a case with weights by the formula; needs torch."""
    import torch

    model = globals()[f"_{case.peer}"]().eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                value.copy_(torch.from_numpy(array_of(name, tuple(value.shape))))
    return model


def arrays_of(model) -> dict[str, np.ndarray]:
    """Returns the state of a peer by the names that its files have."""
    return {name: value.numpy() for name, value in model.state_dict().items() if value.dtype.is_floating_point}


def answers_of(case: Case, model) -> dict[str, np.ndarray]:
    """Returns the logits (H, W, K) of a peer by the names of ours; needs torch."""
    import torch

    with torch.no_grad():
        given = model(torch.from_numpy(np.moveaxis(image_of(case), -1, 0)[None].copy()))
    named = {"logits": given["out"], "auxiliary": given["aux"]} if isinstance(given, dict) else {"logits": given}
    return {name: np.moveaxis(value.numpy()[0], 0, -1) for name, value in named.items()}


def _small_fcn():
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.resnet import Bottleneck, ResNet
    from torchvision.models.segmentation.fcn import FCN, FCNHead

    body = ResNet(Bottleneck, [1] * 4, replace_stride_with_dilation=[False, True, True])
    body = IntermediateLayerGetter(body, {"layer4": "out", "layer3": "aux"})
    return FCN(body, FCNHead(2048, CLASSES), FCNHead(1024, CLASSES))


def _fcn():
    from torchvision.models.segmentation import fcn_resnet50

    return fcn_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True)


def _of_segmentation_models(name, stages):
    import segmentation_models_pytorch
    from segmentation_models_pytorch.encoders.resnet import ResNetEncoder
    from torchvision.models.resnet import BasicBlock

    model = getattr(segmentation_models_pytorch, name)("resnet34", encoder_weights=None, classes=CLASSES)
    model.encoder = ResNetEncoder((3, 64, 64, 128, 256, 512), block=BasicBlock, layers=stages)
    return model


def _small_unet():
    return _of_segmentation_models("Unet", [1] * 4)


def _small_unet_plus_plus():
    return _of_segmentation_models("UnetPlusPlus", [1] * 4)


def _small_linknet():
    return _of_segmentation_models("Linknet", [1] * 4)


def _unet():
    return _of_segmentation_models("Unet", [3, 4, 6, 3])


def sampled(values: np.ndarray) -> np.ndarray:
    """Returns numbers from all parts of a map, as a frozen file holds them."""
    flat = values.reshape(-1)
    return flat[:: max(1, len(flat) // LOGITS)]


def write(name: str, case: Case) -> None:
    """Writes the frozen answers of a peer."""
    model = peer_of(case)
    shapes = {key: list(value.shape) for key, value in arrays_of(model).items()}
    answers = {key: sampled(value) for key, value in answers_of(case, model).items()}
    FROZEN.mkdir(exist_ok=True)
    np.savez_compressed(FROZEN / f"{name}.npz", shapes=json.dumps(shapes), **answers)


def answer(case: Case, folder: Path) -> None:
    """Writes weights and answers of a peer into a folder."""
    from safetensors.numpy import save_file

    model = peer_of(case)
    save_file({name: np.ascontiguousarray(value) for name, value in arrays_of(model).items()}, folder / "m.safetensors")
    np.savez(folder / "answers.npz", **answers_of(case, model))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        answer(globals()[sys.argv[1]][sys.argv[2]], Path(sys.argv[3]))
    else:
        for name, case in SMALL.items():
            write(name, case)
