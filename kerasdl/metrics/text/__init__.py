"""Metrics of texts; their names are those of `kerasdl.metrics`."""
