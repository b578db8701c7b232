"""Fine-tuning of a Keras model in stages."""

from typing import assert_type

import keras

import kerasdl
from kerasdl.train import Run, RunConfig, finetune

model = kerasdl.build("mobilenet_v2", image_shape=(96, 96, 3), classes=10)
run = finetune(model, kerasdl.data.load("digits", image_shape=(96, 96, 3)), config=RunConfig(epochs=4, patience=2))
assert_type(run, Run)
keras.saving.save_model(run.model, "mine.keras")
