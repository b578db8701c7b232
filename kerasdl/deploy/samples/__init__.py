"""Examples for calibration and comparison: inputs by name, drawn over all the data."""
