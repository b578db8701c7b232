"""Outputs of a model: logits or probabilities, the loss that fits them, labels and scores. Imports core's files."""
