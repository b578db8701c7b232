"""Data by name, example by example."""

from typing import assert_type

from kerasdl.data import Dataset, load

data = load("digits", "test", image_shape=(32, 32, 3))
assert_type(data, Dataset)
assert_type(data.class_names, tuple[str, ...])
assert_type(data.take(10), Dataset)
assert_type(len(data), int)
for image, label in data:
    print(image.shape, label)
