"""File format of a bundle: archive, manifest, model file; every byte checked before use."""
