"""Integer TFLite files: repair of calibrated ranges, bias correction, layers that stay in float."""
