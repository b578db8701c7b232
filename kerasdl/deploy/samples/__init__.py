"""Examples for calibration and judgement: inputs by name, drawn over all the data given."""
