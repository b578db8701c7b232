"""Error analysis of a classifier: figures, calibration, suspected labels, copies, and the report of them all."""
