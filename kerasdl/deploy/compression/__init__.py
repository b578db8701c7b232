"""Pruning, clustering, channel pruning. Imports keras2, export, profiling, tflite and train."""
