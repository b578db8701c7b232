"""DeepLabV3 and LR-ASPP of torchvision and SegFormer of transformers beside ours: weights by a formula, and logits.

`python tests/support/semantic_peers.py` writes tests/frozen/segmenters/ anew; it needs torch and its vision package,
and transformers.
"""

import json
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FROZEN = Path(__file__).parents[1] / "frozen" / "segmenters"
LOGITS = 400
"""Numbers of each output that a frozen file holds."""
MIX = {"widths": (16, 24, 40, 64), "depths": (1, 2, 1, 1)}


@dataclass(frozen=True)
class Case:
    """A segmenter, or its encoder, here and there, small or of full size."""

    ours: str
    arguments: dict
    peer: str
    size: tuple[int, int] = (65, 90)
    classes: int = 3
    small: bool = False


SMALL = {
    "deeplab_v3": Case(
        "deeplab_v3",
        {"backbone_settings": {"stages": (1, 1, 2, 2)}, "auxiliary": True},
        "deeplab_v3",
        small=True,
    ),
    "lraspp": Case("lraspp", {"padding": "symmetric"}, "lraspp"),
    "segformer": Case("segformer_b0", {"backbone_settings": MIX, "channels": 32}, "segformer", small=True),
    "mix_transformer": Case("mit_b0", MIX, "mix_transformer", small=True),
}
FULL = {
    "deeplab_v3": Case("deeplab_v3", {"auxiliary": True}, "deeplab_v3"),
    "segformer": Case("segformer_b0", {}, "segformer"),
}


def array_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the weights that a name in a checkpoint has, the same everywhere and always."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape).astype("float32")
    if len(shape) < 2 and name.endswith("weight"):
        last = name.endswith("bn3.weight")  # of a residual branch: kept small
        return (rng.uniform(0.8, 1.2, shape) * (0.3 if last else 1)).astype("float32")
    if len(shape) < 2:
        return (0.1 * rng.normal(size=shape)).astype("float32")
    return (rng.normal(size=shape) * np.sqrt(1.6 / np.prod(shape[1:]))).astype("float32")


def image_of(case: Case) -> np.ndarray:
    """Returns the image (H, W, 3) that both nets take."""
    return np.random.default_rng(7).normal(0.0, 0.5, (*case.size, 3)).astype("float32")


def peer_of(case: Case):
    """Returns the peer of a case with weights by the formula; needs torch."""
    import torch

    model = globals()[f"_{case.peer}"](case).eval()
    if hasattr(model, "config"):  # its files have other names than its state
        from safetensors.numpy import save_file

        arrays = {name: array_of(name, each.shape) for name, each in arrays_of(model).items()}
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            save_file(arrays, Path(folder) / "model.safetensors", metadata={"format": "pt"})
            return type(model).from_pretrained(folder).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                value.copy_(torch.from_numpy(array_of(name, tuple(value.shape))))
    return model


def arrays_of(model) -> dict[str, np.ndarray]:
    """Returns the state of a peer by the names that its files have."""
    if hasattr(model, "config"):
        from safetensors.numpy import load_file

        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            arrays = load_file(Path(folder) / "model.safetensors")
        return {name: value for name, value in arrays.items() if value.dtype.kind == "f"}
    return {name: value.numpy() for name, value in model.state_dict().items() if value.dtype.is_floating_point}


def answers_of(case: Case, model) -> dict[str, np.ndarray]:
    """Returns the outputs of a peer as ours has them: (H, W, K) of the image's size, or (K,); needs torch."""
    import torch

    image = torch.from_numpy(np.moveaxis(image_of(case), -1, 0).copy())
    with torch.no_grad():
        given = model(image[None])
        if hasattr(model, "config"):
            logits = given.logits
            if logits.ndim == 4:
                logits = torch.nn.functional.interpolate(logits, case.size, mode="bilinear", align_corners=False)
            given = {"out": logits}
    names = {"out": "logits", "aux": "auxiliary"}
    return {names[name]: np.moveaxis(value.numpy()[0], 0, -1) for name, value in given.items()}


def sampled(values: np.ndarray) -> np.ndarray:
    """Returns numbers of all parts of an output, as a frozen file holds them."""
    flat = np.asarray(values).reshape(-1)
    return flat[:: max(1, len(flat) // LOGITS)]


def _deeplab_v3(case: Case):
    from torchvision.models.segmentation import deeplabv3, deeplabv3_resnet50, fcn

    if not case.small:
        return deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=case.classes, aux_loss=True)
    from torchvision.models._utils import IntermediateLayerGetter
    from torchvision.models.resnet import Bottleneck, ResNet

    body = ResNet(Bottleneck, [1, 1, 2, 2], replace_stride_with_dilation=[False, True, True])
    maps = IntermediateLayerGetter(body, {"layer4": "out", "layer3": "aux"})
    return deeplabv3.DeepLabV3(maps, deeplabv3.DeepLabHead(2048, case.classes), fcn.FCNHead(1024, case.classes))


def _lraspp(case: Case):
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    return lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=case.classes)


def _config(case: Case):
    from transformers import SegformerConfig

    small = {"hidden_sizes": list(MIX["widths"]), "depths": list(MIX["depths"]), "decoder_hidden_size": 32}
    return SegformerConfig(num_labels=case.classes, **(small if case.small else {}))


def _segformer(case: Case):
    from transformers import SegformerForSemanticSegmentation

    return SegformerForSemanticSegmentation(_config(case))


def _mix_transformer(case: Case):
    from transformers import SegformerForImageClassification

    return SegformerForImageClassification(_config(case))


def write(name: str, case: Case) -> None:
    """Writes the frozen answers of a peer."""
    model = peer_of(case)
    shapes = {key: list(value.shape) for key, value in arrays_of(model).items()}
    FROZEN.mkdir(exist_ok=True)
    kept = {key: sampled(value) for key, value in answers_of(case, model).items()}
    np.savez_compressed(FROZEN / f"{name}.npz", shapes=json.dumps(shapes), **kept)


def hand_over(case: Case, folder: str) -> None:
    """Writes the weights and the answers of a peer into a folder, for a process without torch."""
    from safetensors.numpy import save_file

    model = peer_of(case)
    save_file(arrays_of(model), Path(folder) / "model.safetensors")
    np.savez(Path(folder) / "answers.npz", **answers_of(case, model))


if __name__ == "__main__":
    if sys.argv[1:]:
        hand_over(globals()[sys.argv[1]][sys.argv[2]], sys.argv[3])
    else:
        for each, small in SMALL.items():
            write(each, small)
