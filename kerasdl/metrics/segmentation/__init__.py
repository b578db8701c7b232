"""Metrics of segmentation; their names are those of `kerasdl.metrics`."""
