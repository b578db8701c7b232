"""Batches of an epoch: order, shards for replicas, random seeds for augmentation and mixing."""
