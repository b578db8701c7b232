"""Environments: batches of states as pure functions of tensors, and adapters of others."""
