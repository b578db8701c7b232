"""Metrics of generated samples; their names are those of `kerasdl.metrics`."""
