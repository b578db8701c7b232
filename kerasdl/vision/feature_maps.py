"""Feature maps of a backbone for detectors and segmenters: any registered net with features, by name."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from kerasdl.core import checks, spec


def backbone_features(
    x: Any, backbone: str, settings: Mapping[str, Any] | None = None, *, strides: Sequence[int], prefix: str = ""
) -> dict[str, Any]:
    """Returns the feature maps of a registered backbone at some strides.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        backbone: name of a registered net whose file has a function of features, such as `resnet50`.
        settings: arguments of that function, in place of those of the variant.
        strides: pixels between two places of each map, from fine to coarse.
        prefix: beginning of every layer name. Without one the layers are named as in the classifier, so that its
            weights go in by name.

    Returns:
        `{"stride8": (B, H/8, W/8, c), ...}` at these strides alone.

    Raises:
        UnknownNameError: there is no such net.
        ArgumentError: the net has no features, no map of a stride, or no such argument.

    Example:
        >>> maps = backbone_features(keras.Input((64, 64, 3)), "mobilenet_v2", strides=(8, 16))
        >>> {name: each.shape for name, each in maps.items()}
        {'stride8': (None, 8, 8, 32), 'stride16': (None, 4, 4, 96)}
    """
    net = spec(backbone)
    module, _, builder = net.builder.partition(":")
    features = getattr(importlib.import_module(module), f"{builder}_features", None)
    if features is None:
        checks.refuse("backbone must be a net with feature maps", backbone, "Such as resnet50 or mobilenet_v2.")
    known = inspect.signature(features).parameters
    for name in settings or {}:
        checks.known_name(f"argument of {builder}_features", name, known)
    of_variant = {name: value for name, value in net.arguments.items() if name in known}
    maps = features(x, **{**of_variant, **(settings or {})}, prefix=prefix)
    for stride in strides:
        checks.known_name(f"map of {backbone}", f"stride{stride}", maps)
    return {f"stride{stride}": maps[f"stride{stride}"] for stride in checks.counts("strides", tuple(strides))}
