"""Parameter-efficient tuning of any functional model; the names are those of `kerasdl.sequence`."""
