"""Sweeps with intervals, cross-validation, test-time augmentation. Imports core, data and loop."""
