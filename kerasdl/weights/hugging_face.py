"""Hugging Face checkpoints as sources of weights: safetensors, paired by name by the maps that families register."""

import keras

REMOTE = "hf://"


def take(model: keras.Model, source: str):
    """Stub."""
    raise NotImplementedError
