"""Models by name and their specifications."""

from typing import assert_type

import keras

import kerasdl

for name in kerasdl.list_models("vision/mobilenet*"):
    assert_type(name, str)
spec = kerasdl.spec("mobilenet_v2")
assert_type(spec, kerasdl.ModelSpec)
assert_type(spec.params, int | None)
model = kerasdl.build("mobilenet_v2", image_shape=(96, 96, 3), classes=10)
assert_type(model, keras.Model)
model.summary()
