"""Buffers: rings of transitions in TensorFlow variables, used inside compiled functions."""
