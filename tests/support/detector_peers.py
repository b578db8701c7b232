"""Detectors of torchvision and Hugging Face beside ours: weights by a formula, raw heads, and boxes after suppression.

`python tests/support/detector_peers.py` writes tests/frozen/detectors/ anew; it needs torch, torchvision, transformers.
"""

import json
import sys
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

FROZEN = Path(__file__).parents[1] / "frozen" / "detectors"
BODY = {"backbone_settings": {"stages": (1, 1)}, "strides": (4, 8)}
RAW = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}  # images are given as a network takes them
HEADS = 400
"""Numbers of each head, and MAX_BOXES boxes, that a frozen file holds."""
MAX_BOXES = 100


@dataclass(frozen=True)
class Case:
    """A detector here and there, small or of full size."""

    ours: str
    arguments: dict
    peer: str
    size: tuple[int, int]
    min_score: float
    classes: int = 3
    settings: dict = field(default_factory=dict)
    """Further settings of the peer."""


SMALL = {
    "retinanet": Case("retinanet", {**BODY, "channels": 16}, "small_retinanet", (96, 128), 0.95),
    "fcos": Case("fcos", {**BODY, "channels": 32, "corners": True}, "small_fcos", (96, 128), 0.6),
    "faster_rcnn": Case("faster_rcnn", {**BODY, "channels": 16}, "small_faster_rcnn", (96, 128), 0.1),
    "mask_rcnn": Case("mask_rcnn", {**BODY, "channels": 16}, "small_mask_rcnn", (96, 128), 0.1),
    "ssd": Case(
        "ssd300",
        {"backbone_settings": {"pooled": False, "stages": (1,) * 5, "channels": (8, 16, 32, 512, 512)}},
        "small_ssd",
        (300, 300),
        0.8,
    ),
    "ssdlite": Case("ssdlite320", {"padding": "symmetric"}, "ssdlite", (320, 320), 0.37),
    "detr": Case(
        "detr",
        {
            "backbone_settings": {"stages": (1, 1, 1, 1), "channels": 8},
            **dict(width=32, heads=4, hidden=48, queries=60, encoder_layers=2, decoder_layers=2),
        },
        "detr",
        (160, 192),
        0.0,
        settings={"small": True},
    ),
}
FULL = {
    "retinanet": Case("retinanet", {}, "retinanet", (192, 256), 0.95),
    "fcos": Case("fcos", {"corners": True}, "fcos", (192, 256), 0.6),
    "faster_rcnn": Case("faster_rcnn", {}, "faster_rcnn", (192, 256), 0.1),
    "mask_rcnn": Case("mask_rcnn", {}, "mask_rcnn", (192, 256), 0.1),
    "ssd": Case("ssd300", {}, "ssd", (300, 300), 0.5),
    "detr": Case("detr", {}, "detr", (256, 320), 0.0),
}


def array_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the weights that a name in a checkpoint has, the same everywhere and always."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape).astype("float32")
    if name.endswith("scale_weight"):
        return rng.uniform(1.0, 3.0, shape).astype("float32")
    if len(shape) < 2 and name.endswith("weight"):
        last = name.endswith(("bn3.weight", "layer.2.normalization.weight"))  # of a residual branch: kept small
        return (rng.uniform(0.8, 1.2, shape) * (0.3 if last else 1)).astype("float32")
    if len(shape) < 2:
        return (0.1 * rng.normal(size=shape)).astype("float32")
    fan_in = 1 if "query_position" in name else int(np.prod(shape[1:]))
    gain = next((gain for part, gain in GAINS.items() if part in name), 2.0)
    return (rng.normal(size=shape) * np.sqrt(gain / fan_in)).astype("float32")


# Smaller where signals are summed, and in the last layers, so that scores and sides of boxes differ.
GAINS = {
    "fpn": 0.5,
    "bbox_reg.": 0.2,
    "bbox_pred.": 0.02,
    "regression_head.module_list": 0.1,
    "classification_head.module_list": 0.7,
    "block.": 1.6,
}


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
            return load_file(Path(folder) / "model.safetensors")
    return {name: value.numpy() for name, value in model.state_dict().items() if value.dtype.is_floating_point}


def answers_of(case: Case, model) -> dict[str, np.ndarray]:
    """Returns the raw heads of a peer, flattened as ours, and its boxes, scores and classes; needs torch."""
    import torch

    image = torch.from_numpy(np.moveaxis(image_of(case), -1, 0).copy())
    with torch.no_grad():
        if hasattr(model, "config"):
            given = model(image[None])
            heads = {"classes": given.logits, "boxes": given.pred_boxes}
            return {name: value.numpy()[0] for name, value in heads.items()} | _queries(case, heads)
        maps = model.backbone(image[None])
        if hasattr(model, "rpn"):
            heads = _of_two_stages(model, maps, case.size)
        else:
            heads = {NAMES[name]: value for name, value in model.head(list(maps.values())).items()}
        (found,) = model([image])
    heads = {name: value.numpy()[0] for name, value in heads.items()}
    first = 1 if case.ours in (*TWO_STAGE, "ssd300", "ssdlite320") else 0  # class 0 is the background
    return heads | {
        "found_boxes": found["boxes"].numpy(),
        "found_scores": found["scores"].numpy(),
        "found_classes": found["labels"].numpy() - first,
    }


TWO_STAGE = ("faster_rcnn", "mask_rcnn")
HEAD_NAMES = ("classes", "boxes", "centredness", "objectness", "offsets", "masks")
MASKS = 20
"""The first proposals, whose masks are compared."""
SMALL_MASK_HEAD = {"convolutions": 2, "width": 16}
NAMES = {"cls_logits": "classes", "bbox_regression": "boxes", "bbox_ctrness": "centredness"}


def _of_two_stages(model, maps, size) -> dict:
    from torchvision.models.detection.image_list import ImageList
    from torchvision.models.detection.rpn import concat_box_prediction_layers

    objectness, offsets = concat_box_prediction_layers(*model.rpn.head(list(maps.values())))
    images = ImageList(next(iter(maps.values())).new_zeros((1, 3, *size)), [size])
    proposals, _ = model.rpn(images, maps)
    features = model.roi_heads.box_head(model.roi_heads.box_roi_pool(maps, proposals, [size]))
    classes, boxes = model.roi_heads.box_predictor(features)
    heads = {
        "objectness": objectness,
        "offsets": offsets,
        "proposals": proposals[0],
        "classes": classes,
        "boxes": boxes,
    }
    if model.roi_heads.has_mask():
        pooled = model.roi_heads.mask_roi_pool(maps, [proposals[0][:MASKS]], [size])
        heads["masks"] = model.roi_heads.mask_predictor(model.roi_heads.mask_head(pooled)).permute(0, 2, 3, 1)
    return {name: value[None] for name, value in heads.items()}


def _queries(case: Case, heads) -> dict:
    """Returns the queries whose likeliest class is an object, in pixels, the likeliest first."""
    shares = heads["classes"][0].softmax(-1)[:, :-1].numpy()
    x, y, width, height = heads["boxes"][0].numpy().T
    boxes = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=-1)
    order = np.argsort(-shares.max(-1))
    boxes = np.clip(boxes, 0, 1) * np.array([case.size[1], case.size[0]] * 2)
    return {
        "found_boxes": boxes[order],
        "found_scores": shares.max(-1)[order],
        "found_classes": shares.argmax(-1)[order],
    }


def _settings(case: Case) -> dict:
    return {"min_size": case.size[0], "max_size": case.size[1], **RAW}


def _limits(case: Case) -> dict:
    return {"score_thresh": case.min_score, "detections_per_img": MAX_BOXES, "topk_candidates": 1000}


def _body(strides, channels, extra):
    from torchvision.models.detection.backbone_utils import BackboneWithFPN
    from torchvision.models.resnet import Bottleneck, ResNet

    layers = {f"layer{number}": str(number - 1) for number in range(1, 1 + len(strides))}
    return BackboneWithFPN(ResNet(Bottleneck, [1] * 4), layers, [256, 512], channels, extra_blocks=extra)


def _small_retinanet(case):
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    sides = tuple((side, int(side * 2 ** (1 / 3)), int(side * 2 ** (2 / 3))) for side in (16, 32, 64, 128))
    anchors = AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * 4)
    body = _body((4, 8), 16, LastLevelP6P7(16, 16))
    return RetinaNet(body, case.classes, anchor_generator=anchors, **_settings(case), **_limits(case))


def _small_fcos(case):
    from torchvision.models.detection import FCOS
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops.feature_pyramid_network import LastLevelP6P7

    anchors = AnchorGenerator(((4,), (8,), (16,), (32,)), ((1.0,),) * 4)
    body = _body((4, 8), 32, LastLevelP6P7(32, 32))
    return FCOS(body, case.classes, anchor_generator=anchors, **_settings(case), **_limits(case))


def _small_faster_rcnn(case):
    from torchvision.models.detection import FasterRCNN

    return _small_two_stages(FasterRCNN, case)


def _small_mask_rcnn(case):
    from torchvision.models.detection import mask_rcnn
    from torchvision.ops import MultiScaleRoIAlign

    depth, width = SMALL_MASK_HEAD["convolutions"], SMALL_MASK_HEAD["width"]
    pool = MultiScaleRoIAlign(["0", "1"], 14, 2)
    head = mask_rcnn.MaskRCNNHeads(16, (width,) * depth, 1)
    model = _small_two_stages(mask_rcnn.MaskRCNN, case, mask_roi_pool=pool, mask_head=head)
    model.roi_heads.mask_predictor = mask_rcnn.MaskRCNNPredictor(width, width, case.classes + 1)
    return model


def _small_two_stages(kind, case, **settings):
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign
    from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

    return kind(
        _body((4, 8), 16, LastLevelMaxPool()),
        case.classes + 1,
        rpn_anchor_generator=AnchorGenerator(((32,), (64,), (128,)), ((0.5, 1.0, 2.0),) * 3),
        box_roi_pool=MultiScaleRoIAlign(["0", "1"], 7, 2),
        box_score_thresh=case.min_score,
        box_detections_per_img=MAX_BOXES,
        **_settings(case),
        **settings,
    )


def _small_ssd(case):
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.ssd import SSD, SSDFeatureExtractorVGG
    from torchvision.models.vgg import make_layers

    body = SSDFeatureExtractorVGG(make_layers([8, "M", 16, "M", 32, "M", 512, "M", 512, "M"]), False)
    anchors = DefaultBoxGenerator(
        [[2], [2, 3], [2, 3], [2, 3], [2], [2]],
        scales=[0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05],
        steps=[8, 16, 32, 64, 100, 300],
    )
    return SSD(body, anchors, case.size, case.classes + 1, **RAW, **_limits(case))


def _of_torchvision(name, case, background, **settings):
    from torchvision.models import detection

    build = getattr(detection, name)
    return build(weights=None, weights_backbone=None, num_classes=case.classes + background, **settings)


def _retinanet(case):
    return _of_torchvision("retinanet_resnet50_fpn", case, 0, **_settings(case), **_limits(case))


def _fcos(case):
    return _of_torchvision("fcos_resnet50_fpn", case, 0, **_settings(case), **_limits(case))


def _faster_rcnn(case, name="fasterrcnn_resnet50_fpn"):
    limits = {"box_score_thresh": case.min_score, "box_detections_per_img": MAX_BOXES}
    return _of_torchvision(name, case, 1, **_settings(case), **limits)


def _mask_rcnn(case):
    return _faster_rcnn(case, "maskrcnn_resnet50_fpn")


def _ssd(case):
    return _of_torchvision("ssd300_vgg16", case, 1, **RAW, **_limits(case))


def _ssdlite(case):
    return _of_torchvision("ssdlite320_mobilenet_v3_large", case, 1, **RAW, **_limits(case))


def _detr(case):
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    body = ResNetConfig(out_features=["stage4"])
    settings = {}
    if case.settings:
        body = ResNetConfig(embedding_size=8, hidden_sizes=[32, 64, 128, 256], depths=[1] * 4, out_features=["stage4"])
        heads = {f"{part}_{each}": of for part in ("encoder", "decoder") for each, of in DETR.items()}
        settings = {"d_model": 32, "num_queries": 60, **heads}
    return DetrForObjectDetection(
        DetrConfig(
            use_timm_backbone=False,
            use_pretrained_backbone=False,
            backbone=None,
            backbone_config=body,
            num_labels=case.classes,
            **settings,
        )
    )


DETR = {"layers": 2, "attention_heads": 4, "ffn_dim": 48}


def write(name: str, case: Case) -> None:
    """Writes the frozen answers of a peer."""
    model = peer_of(case)
    answers = answers_of(case, model)
    shapes = {key: list(value.shape) for key, value in arrays_of(model).items()}
    kept = {key: sampled(value) if key in HEAD_NAMES else value for key, value in answers.items()}
    FROZEN.mkdir(exist_ok=True)
    np.savez_compressed(FROZEN / f"{name}.npz", shapes=json.dumps(shapes), **kept)


def sampled(values: np.ndarray) -> np.ndarray:
    """Returns numbers of all parts of a head, as a frozen file holds them."""
    flat = values.reshape(-1)
    return flat[:: max(1, len(flat) // HEADS)]


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
