"""Quantisation-aware training and export of a Keras model."""

from typing import assert_type

import kerasdl
from kerasdl.deploy import ExportReport, export_onnx, export_tflite

model = kerasdl.build("mobilenet_v2", image_shape=(96, 96, 3), classes=10)
digits = kerasdl.data.load("digits", image_shape=(96, 96, 3))
assert_type(export_tflite(model, "m.tflite", quantize="int8", representative=digits), ExportReport)
assert_type(export_onnx(model, "m.onnx"), ExportReport)
