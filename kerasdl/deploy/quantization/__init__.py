"""Quantization-aware training. Imports keras2, tflite, export and train."""
