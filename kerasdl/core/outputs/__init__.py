"""Model outputs: logits or probabilities, the matching loss, labels and scores. Imports core's files."""
