"""Metrics of forecasts; their names are those of `kerasdl.metrics`."""
