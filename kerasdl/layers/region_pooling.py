"""Region features of two-stage detectors as layers: RoIAlign, RoIPool, and RoIAlign on the levels of a pyramid."""

import keras

from kerasdl import ops
from kerasdl.core import checks


class RegionPooling(keras.layers.Layer):
    """Base of layers from feature maps and boxes to the features of each box; boxes are never cast to half precision.

    Args:
        size: rows and columns of bins, or one number for both.
    """

    def __init__(self, size: int | tuple[int, int] = 7, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.size = checks.counts("size", tuple(size) if isinstance(size, (tuple, list)) else (size, size))

    def compute_output_spec(self, inputs):
        *features, boxes = inputs if isinstance(inputs, (tuple, list)) else [inputs]
        if not features or any(len(each.shape) != 4 for each in features) or tuple(boxes.shape[2:]) != (4,):
            shapes = [tuple(each.shape) for each in (*features, boxes)]
            checks.refuse("the inputs must be feature maps (B, H, W, C), then boxes (B, R, 4)", shapes)
        return keras.KerasTensor((*boxes.shape[:2], *self.size, features[0].shape[-1]), dtype=features[0].dtype)

    def get_config(self):
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable("kerasdl")
class ROIAlign(RegionPooling):
    """RoIAlign: the features of boxes by bilinear samples at exact places, averaged in each bin.

    Source: Mask R-CNN, https://arxiv.org/abs/1703.06870, section 3; see `kerasdl.ops.roi_align`.

    Args:
        size: rows and columns of bins, or one number for both.
        stride: pixels between two places of the map.
        sampling_ratio: samples of a bin along each side.
        aligned: whether pixel centres are at half pixels; False is torchvision's default, True Detectron2's.

    Input:
        Two tensors: features (B, H, W, C), and `xyxy` boxes (B, R, 4) in pixels, which get no gradient.

    Returns:
        (B, R, rows, columns, C) of the features' dtype.

    Raises:
        ArgumentError: an argument breaks its range, or the inputs have other shapes.

    Example:
        >>> ROIAlign(7, stride=16)([keras.Input((32, 32, 256)), keras.Input((100, 4))]).shape
        (None, 100, 7, 7, 256)
    """

    def __init__(self, size=7, *, stride: float = 16.0, sampling_ratio: int = 2, aligned: bool = False, **kwargs):
        super().__init__(size, **kwargs)
        if not stride > 0:
            checks.refuse("stride must be positive", stride)
        self.stride, self.aligned = stride, bool(aligned)
        self.sampling_ratio = checks.at_least("sampling_ratio", sampling_ratio, 1)

    def call(self, inputs):
        features, boxes = inputs
        settings = dict(stride=self.stride, sampling_ratio=self.sampling_ratio, aligned=self.aligned)
        return ops.roi_align(features, boxes, self.size, **settings)

    def get_config(self):
        own = {"stride": self.stride, "sampling_ratio": self.sampling_ratio, "aligned": self.aligned}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kerasdl")
class MultiScaleROIAlign(RegionPooling):
    """RoIAlign on a feature pyramid: each box on the level of its size, large boxes on coarse levels.

    Source: feature pyramid networks, https://arxiv.org/abs/1612.03144, section 4.2, equation 1; see
    `kerasdl.ops.pyramid_roi_align`.

    Args:
        size: rows and columns of bins, or one number for both.
        strides: pixels between two places of each level, fine to coarse, each twice the one before.
        sampling_ratio: samples of a bin along each side.
        aligned: as in `ROIAlign`.
        side: side in pixels of the box that belongs to the level of stride 16.

    Input:
        The features (B, H, W, C) of each level, fine to coarse, and after them `xyxy` boxes (B, R, 4) in pixels, which
        get no gradient.

    Returns:
        (B, R, rows, columns, C) of the features' dtype.

    Raises:
        ArgumentError: an argument breaks its range, or the inputs have other shapes or number.

    Example:
        >>> levels = [keras.Input((64, 64, 32)), keras.Input((32, 32, 32))]
        >>> MultiScaleROIAlign(7, strides=(8, 16))([*levels, keras.Input((100, 4))]).shape
        (None, 100, 7, 7, 32)
    """

    def __init__(
        self,
        size=7,
        *,
        strides: tuple[int, ...] = (4, 8, 16, 32),
        sampling_ratio: int = 2,
        aligned: bool = False,
        side: float = 224.0,
        **kwargs,
    ):
        super().__init__(size, **kwargs)
        self.strides, self.aligned, self.side = checks.counts("strides", strides), bool(aligned), side
        self.sampling_ratio = checks.at_least("sampling_ratio", sampling_ratio, 1)
        ops.roi_levels([[0.0, 0.0, 1.0, 1.0]], self.strides, side=side)  # refuses what it cannot take

    def compute_output_spec(self, inputs):
        if len(inputs) != len(self.strides) + 1:
            checks.refuse(f"the inputs must be {len(self.strides)} levels, as many as strides, then boxes", len(inputs))
        return super().compute_output_spec(inputs)

    def call(self, inputs):
        *features, boxes = inputs
        levels = ops.roi_levels(boxes, self.strides, side=self.side)
        settings = dict(sampling_ratio=self.sampling_ratio, aligned=self.aligned)
        return ops.pyramid_roi_align(features, boxes, self.size, strides=self.strides, levels=levels, **settings)

    def get_config(self):
        own = {"strides": self.strides, "sampling_ratio": self.sampling_ratio}
        return {**super().get_config(), **own, "aligned": self.aligned, "side": self.side}


@keras.saving.register_keras_serializable("kerasdl")
class ROIPool(RegionPooling):
    """RoIPool: the maximum over the places of each bin of a box, with corners and bins at whole places.

    Source: Fast R-CNN, https://arxiv.org/abs/1504.08083, section 2.1; see `kerasdl.ops.roi_pool`.

    Args:
        size: rows and columns of bins, or one number for both.
        stride: pixels between two places of the map.

    Input:
        Two tensors: features (B, H, W, C), H and W known, and `xyxy` boxes (B, R, 4) in pixels, which get no gradient.

    Returns:
        (B, R, rows, columns, C) of the features' dtype.

    Raises:
        ArgumentError: an argument breaks its range, or the inputs have other shapes.

    Example:
        >>> ROIPool(7, stride=16)([keras.Input((32, 32, 512)), keras.Input((100, 4))]).shape
        (None, 100, 7, 7, 512)
    """

    def __init__(self, size=7, *, stride: float = 16.0, **kwargs):
        super().__init__(size, **kwargs)
        if not stride > 0:
            checks.refuse("stride must be positive", stride)
        self.stride = stride

    def compute_output_spec(self, inputs):
        spec = super().compute_output_spec(inputs)
        if None in inputs[0].shape[1:3]:
            checks.refuse("features of ROIPool must have known sides", tuple(inputs[0].shape), "Take ROIAlign.")
        return spec

    def call(self, inputs):
        features, boxes = inputs
        return ops.roi_pool(features, boxes, self.size, stride=self.stride)

    def get_config(self):
        return {**super().get_config(), "stride": self.stride}
