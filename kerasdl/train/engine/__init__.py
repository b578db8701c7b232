"""`fit`. Imports core, data, losses, loop, optim and distribute; never the rooms that stand on it."""
