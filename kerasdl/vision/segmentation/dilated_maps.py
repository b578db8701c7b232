"""Two feature maps of a dilated backbone, for segmenters that go no coarser than an output stride."""

from collections.abc import Mapping, Sequence
from typing import Any

from kerasdl.core import checks

from ..feature_maps import backbone_features


def dilated_maps(
    x: Any, backbone: str, settings: Mapping[str, Any] | None, *, strides: Sequence[int], output_stride: int
) -> list[Any]:
    """Returns two maps of a backbone, fine and coarse, with dilation in place of strides beyond `output_stride`.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        backbone: name of a registered net with feature maps.
        settings: arguments of its function of features.
        strides: names of the two maps; dilation leaves them as they are.
        output_stride: 8, 16, or 32 for no dilation, which every net has.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such net, it has no map of a stride, or it has no argument `output_stride`.
    """
    if len(checks.counts("strides", tuple(strides))) != 2:
        checks.refuse("strides must name two maps, a fine and a coarse one", tuple(strides))
    checks.one_of("output_stride", output_stride, (8, 16, 32))
    dilation = {} if output_stride == 32 else {"output_stride": output_stride}
    return list(backbone_features(x, backbone, {**dilation, **(settings or {})}, strides=strides).values())
