"""Mistakes that a type checker finds: each line says by which rule."""

import kerasdl
from kerasdl.train import RunConfig, fit

RunConfig(epoch=3)  # error: reportCallIssue
RunConfig(epochs="three")  # error: reportArgumentType
bundle = kerasdl.load_bundel("mine.zip")  # error: reportAttributeAccessIssue
data = kerasdl.data.load("digits", image_shap=(32, 32, 3))  # error: reportCallIssue
fit(kerasdl.build("mlp"), (), confg=RunConfig())  # error: reportCallIssue
run = fit(kerasdl.build("mlp"), ())
print(run.histroy)  # error: reportAttributeAccessIssue
kerasdl.load_bundle("digits_mobilenet").exprot("m.tflite")  # error: reportAttributeAccessIssue
