"""Batches of an epoch: their order, the parts of them that replicas read, and what is drawn for each example."""
