"""Error analysis of a classifier: figures, calibration, suspected labels, twins, and the report of them all."""
