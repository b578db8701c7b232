"""Training engine: `fit`. Imports core, data, losses, loop, optim and distribute; never the rooms built on it."""
