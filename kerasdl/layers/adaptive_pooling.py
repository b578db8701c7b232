"""Adaptive pooling to a fixed height and width: Keras's layer under a shorter name.

Source: the pooling of region proposals without the regions, https://arxiv.org/abs/1406.4729, section 2.2; window i of n
over a side of s goes from floor(i * s / n) to ceil((i + 1) * s / n).
"""

from keras.layers import AdaptiveAveragePooling2D as AdaptivePooling2D

__all__ = ["AdaptivePooling2D"]
