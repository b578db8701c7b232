"""Name maps from kerasdl layers to checkpoints of detectors: torchvision, Hugging Face, Ultralytics."""

import re
from collections.abc import Callable, Sequence
from functools import partial

from kerasdl.core.registry.peer_map import PeerMap

from .peers import in_residual

IMAGENET = {"mean": (0.485, 0.456, 0.406), "deviation": (0.229, 0.224, 0.225)}


def scaled(mean: Sequence[float], deviation: Sequence[float]) -> dict:
    """Returns the preprocessing of nets that read pixels from 0 to 1 less a mean, over a deviation."""
    pairs = list(zip(mean, deviation, strict=True))
    return {
        "scale": ([-centre / spread for centre, spread in pairs], [(1 - centre) / spread for centre, spread in pairs])
    }


def in_resnet(prefix: str, layer: str) -> str | None:
    """Returns the name of a layer of ResNet in checkpoints of torchvision and timm."""
    if layer in ("stem_conv", "stem_bn"):
        return f"{prefix}.{ {'stem_conv': 'conv1', 'stem_bn': 'bn1'}[layer] }"
    match = re.fullmatch(r"stage(\d+)_block(\d+)_(\w+)_(conv|bn)", layer)
    if not match:
        return None
    stage, block, place, part = match.groups()
    end = f"downsample.{int(part == 'bn')}" if place == "shortcut" else f"{part}{place}"
    return f"{prefix}.layer{stage}.{int(block) - 1}.{end}"


def _in_pyramid(layer: str, layers: Sequence[str]) -> str | None:
    """Returns the name of a layer of a feature pyramid in checkpoints of torchvision, which number the levels."""
    match = re.fullmatch(r"fpn_stride(\d+)_(?:(lateral|output)_)?conv", layer)
    if not match:
        return None
    stride, kind = int(match[1]), match[2]
    laterals = sorted(map(int, re.findall(r"^fpn_stride(\d+)_lateral_conv$", "\n".join(layers), re.MULTILINE)))
    if kind is None:
        return f"backbone.fpn.extra_blocks.p{6 if stride == 2 * laterals[-1] else 7}"
    return f"backbone.fpn.{ {'lateral': 'inner', 'output': 'layer'}[kind] }_blocks.{laterals.index(stride)}.0"


def _in_pyramid_net(layer: str, layers: Sequence[str]) -> str | None:
    return in_resnet("backbone.body", layer) or _in_pyramid(layer, layers)


# Before version 2 of these modules a convolution was no sequence of its own.
OLD_PYRAMID = (r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)", r"\1.0.\2")
OLD_PROPOSALS = (r"(rpn\.head\.conv)\.(weight|bias)", r"\1.0.0.\2")
OLD_TOWER = (r"(head\.\w+_head\.conv)\.(\d+)\.(weight|bias)", lambda match: _tower_today(*match.groups()))


OLD_MASKS = (
    r"(roi_heads\.mask_head)\.mask_fcn(\d)\.(weight|bias)",
    lambda match: f"{match[1]}.{int(match[2]) - 1}.0.{match[3]}",
)


def _tower_today(start: str, place: str, kind: str) -> str:
    return f"{start}.{int(place) // 2}.0.{kind}"  # a ReLU stood between two convolutions


# The second form of torchvision makes stride 64 of the 2,048 channels of the backbone, not of the pyramid.
SECOND_FORM = (
    r"backbone\.fpn\.extra_blocks\.p6\.weight \((\d+), (?!\1,).*",
    "torchvision's retinanet_resnet50_fpn_v2, whose stride 64 is made of the backbone; there is no such net here",
)


def _dense(network: str, steps: int, conv: str, norm: str, *, renamed: tuple) -> PeerMap:
    """Map of a dense detector of torchvision whose towers have so many modules for each convolution."""

    def part(name: str) -> Callable[[int], str]:
        return lambda number: name.format(steps * (number - 1), steps * (number - 1) + 1)

    towers = [
        (rf"{ours}_tower_{layer}(\d+)", part(f"head.{theirs}_head.conv.{end}"))
        for ours, theirs in (("classes", "classification"), ("boxes", "regression"))
        for layer, end in (("conv", conv), ("norm", norm))
    ]
    return PeerMap(
        "head.classification_head",
        (
            *towers,
            ("classes_conv", "head.classification_head.cls_logits"),
            ("boxes_conv", "head.regression_head.bbox_reg"),
            ("centredness_conv", "head.regression_head.bbox_ctrness"),
        ),
        flat=_in_pyramid_net,
        heads="classes_conv",
        network=network,
        renamed=(OLD_PYRAMID, *renamed),
        symmetric=True,
        others=(SECOND_FORM,),
        preprocess=scaled(**IMAGENET),
    )


RETINANET = _dense("retinanet", 1, "{0}.0", "{0}.1", renamed=(OLD_TOWER,))
FCOS = _dense("fcos_corners", 3, "{0}", "{1}", renamed=())
FASTER_RCNN, MASK_RCNN = (
    PeerMap(
        "rpn.head",
        (
            (r"proposals_tower_conv(\d+)", lambda number: f"rpn.head.conv.{number - 1}.0"),
            ("objectness_conv", "rpn.head.cls_logits"),
            ("offsets_conv", "rpn.head.bbox_pred"),
        ),
        flat=_in_pyramid_net,
        network=network,
        renamed=(OLD_PYRAMID, OLD_PROPOSALS),
        symmetric=True,
        preprocess=scaled(**IMAGENET),
    )
    for network in ("faster_rcnn", "mask_rcnn")
)
FASTER_RCNN_BOX_HEAD = PeerMap(
    "roi_heads.box_predictor",
    (
        (r"hidden(\d)", lambda number: f"roi_heads.box_head.fc{number + 5}"),
        ("classes", "roi_heads.box_predictor.cls_score"),
        ("boxes", "roi_heads.box_predictor.bbox_pred"),
    ),
    heads="classes|boxes",
    network="faster_rcnn_box_head",
)
MASK_RCNN_MASK_HEAD = PeerMap(
    "roi_heads.mask_predictor",
    (
        (r"conv(\d)", lambda number: f"roi_heads.mask_head.{number - 1}.0"),
        ("upsample", "roi_heads.mask_predictor.conv5_mask"),
        ("masks_conv", "roi_heads.mask_predictor.mask_fcn_logits"),
    ),
    heads="masks_conv",
    network="mask_rcnn_mask_head",
    renamed=(OLD_MASKS,),
)


def _level_of(layer: str, layers: Sequence[str]) -> tuple[str, int, str] | None:
    """Returns kind, number of the level from 0, and ending of the name of a layer of SSD's heads."""
    match = re.fullmatch(r"(classes|boxes)_stride(\d+)(\w*)", layer)
    if not match:
        return None
    strides = sorted({int(each) for each in re.findall(r"^boxes_stride(\d+)$", "\n".join(layers), re.MULTILINE)})
    kind = {"classes": "classification", "boxes": "regression"}[match[1]]
    return f"head.{kind}_head.module_list", strides.index(int(match[2])), match[3]


def _in_ssd(layer: str, layers: Sequence[str]) -> str | None:
    """Returns the name of a layer of SSD, whose checkpoints number the modules of VGG, anew from its fourth pooling."""
    of_head = _level_of(layer, layers)
    if of_head:
        return f"{of_head[0]}.{of_head[1]}"
    places = [tuple(map(int, re.findall(r"\d+", name))) for name in layers if re.fullmatch(r"stage\d_\d+_conv", name)]
    fine = 2 * sum(stage < 5 for stage, _ in places) + 3  # a ReLU for each convolution, and a pooling for each stage
    if layer in ("fc6_conv", "fc7_conv"):
        return f"backbone.extra.0.{2 * len(places) + 4 - fine}.{ {'fc6_conv': 1, 'fc7_conv': 3}[layer] }"
    if not re.fullmatch(r"stage\d_\d+_conv", layer):
        return None
    place = tuple(map(int, re.findall(r"\d+", layer)))
    number = 2 * sorted(places).index(place) + place[0] - 1
    return f"backbone.features.{number}" if place[0] < 5 else f"backbone.extra.0.{number - fine}"


SSD = PeerMap(
    "backbone.extra",
    (
        ("stride8_scale", "backbone.scale_weight"),
        (r"extra(\d+)_squeeze_conv", lambda number: f"backbone.extra.{number}.0"),
        (r"extra(\d+)_conv", lambda number: f"backbone.extra.{number}.2"),
    ),
    flat=_in_ssd,
    heads=r"classes_stride\d+",
    network="ssd",
    symmetric=True,
    preprocess=scaled((0.48235, 0.45882, 0.40784), (1 / 255,) * 3),
)
SPLIT = 13  # block of MobileNetV3 whose expansion ends the first of two parts
BLOCK_PARTS = ("expand", "depthwise", "se", "project")
MODULES = {"conv": "0", "bn": "1", "squeeze": "fc1", "excite": "fc2"}


def _in_ssdlite(layer: str, layers: Sequence[str]) -> str | None:
    of_head = _level_of(layer, layers)
    if of_head:
        start, level, end = of_head
        return f"{start}.{level}.0.{MODULES[end.rsplit('_')[-1]]}" if end else f"{start}.{level}.1"
    match = re.fullmatch(r"block(\d+)_(expand|depthwise|se|project)_(conv|bn|squeeze|excite)", layer)
    if not match:
        return None
    block, part, module = int(match[1]), match[2], MODULES[match[3]]
    parts = [each for each in BLOCK_PARTS if any(name.startswith(f"block{block}_{each}_") for name in layers)]
    if block == SPLIT:
        start = "backbone.features.0.13" if part == "expand" else f"backbone.features.1.0.{parts.index(part)}"
        return f"{start}.{module}"
    group, number = (0, block) if block < SPLIT else (1, block - SPLIT)
    return f"backbone.features.{group}.{number}.block.{parts.index(part)}.{module}"


def _extra(place: int, module: str, number: int) -> str:
    return f"backbone.extra.{number - 1}.{place}.{module}"


SSDLITE = PeerMap(
    "backbone.extra",
    (
        ("stem_conv", "backbone.features.0.0.0"),
        ("stem_bn", "backbone.features.0.0.1"),
        ("last_conv", "backbone.features.1.3.0"),
        ("last_bn", "backbone.features.1.3.1"),
        *(
            (rf"extra(\d+)_{part}_{module}", partial(_extra, place, MODULES[module]))
            for place, part in enumerate(("squeeze", "depthwise", "project"))
            for module in ("conv", "bn")
        ),
    ),
    flat=_in_ssdlite,
    heads=r"classes_stride\d+",
    network="ssdlite",
    symmetric=True,
    preprocess=scaled((0.5,) * 3, (0.5,) * 3),
)


def _detr(prefix: str, backbone: Callable[[str, Sequence[str]], str | None]) -> PeerMap:
    def part(name: str) -> Callable[[int], str]:
        return lambda number: f"model.{name.format(number - 1)}"

    ends = {"attention": "self_attn", "attention_norm": "self_attn_layer_norm"}
    ends_of_decoder = {
        "self": "self_attn",
        "self_norm": "self_attn_layer_norm",
        "image": "encoder_attn",
        "image_norm": "encoder_attn_layer_norm",
    }
    both = {"expand": "fc1", "project": "fc2", "norm": "final_layer_norm"}
    return PeerMap(
        prefix,
        (
            ("projection", "model.input_projection"),
            ("queries", "model.query_position_embeddings"),
            *(
                (rf"encoder(\d+)_{ours}", part(f"encoder.layers.{{}}.{theirs}"))
                for ours, theirs in {**ends, **both}.items()
            ),
            *(
                (rf"decoder(\d+)_{ours}", part(f"decoder.layers.{{}}.{theirs}"))
                for ours, theirs in {**ends_of_decoder, **both}.items()
            ),
            ("decoder_norm", "model.decoder.layernorm"),
            ("classes_dense", "class_labels_classifier"),
            (r"boxes_dense(\d)", lambda number: f"bbox_predictor.layers.{number - 1}"),
        ),
        flat=backbone,
        heads="classes_dense",
        attention={"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"},
        symmetric=True,
    )


IN_DETR = "model.backbone.conv_encoder.model"
STEM = {
    "stem_conv": f"{IN_DETR}.embedder.embedder.convolution",
    "stem_bn": f"{IN_DETR}.embedder.embedder.normalization",
}
# The backbone is ResNet of Hugging Face or of timm.
DETR = (
    _detr(f"{IN_DETR}.encoder", lambda layer, layers: STEM.get(layer) or in_residual(IN_DETR, layer, layers)),
    _detr(f"{IN_DETR}.layer1", lambda layer, layers: in_resnet(IN_DETR, layer)),
)
# Parts of YOLOv8 in the list of modules of Ultralytics: single convolutions, C2f blocks, and the head.
SINGLE = {"stem": "0", "pan_stride16_downsample": "16", "pan_stride32_downsample": "19"}
SINGLE |= {f"stage{stage}_down": str(2 * stage - 1) for stage in (1, 2, 3, 4)}
SINGLE |= {"sppf_reduce": "9.cv1", "sppf_project": "9.cv2"}
C2F = {f"stage{stage}": 2 * stage for stage in (1, 2, 3, 4)}
C2F |= {"pan_stride16_top_down": 12, "pan_stride8_top_down": 15}
C2F |= {"pan_stride16_bottom_up": 18, "pan_stride32_bottom_up": 21}
IN_C2F = {"past": "cv1", "through": "cv1", "project": "cv2"}
HEAD = "model.22"


def _in_yolo_v8(layer: str, layers: Sequence[str]) -> str | None:
    match = re.fullmatch(r"(classes|boxes)_stride(\d+)(?:_(\d)_(conv|bn))?", layer)
    if match:
        kind, stride, number, part = match.groups()
        start = f"{HEAD}.{ {'boxes': 'cv2', 'classes': 'cv3'}[kind] }.{(8, 16, 32).index(int(stride))}"
        return f"{start}.{int(number) - 1}.{part}" if number else f"{start}.2"
    start, _, part = layer.rpartition("_")
    if start in SINGLE:
        return f"model.{SINGLE[start]}.{part}"
    match = re.fullmatch(r"(\w+?)_(past|through|project|block(\d+)_([12]))", start)
    if not match or match[1] not in C2F:
        return None
    block, place, number, step = match.groups()
    return f"model.{C2F[block]}.{f'm.{int(number) - 1}.cv{step}' if number else IN_C2F[place]}.{part}"


YOLO_V8 = PeerMap(
    HEAD,
    (),
    flat=_in_yolo_v8,
    halves=(r".*_past_(conv|bn)", r".*_through_(conv|bn)"),
    heads=r"classes_stride\d+(_\d_(conv|bn))?",
    network="yolo_v8",
    symmetric=True,
    preprocess=scaled((0.0,) * 3, (1.0,) * 3),
)
