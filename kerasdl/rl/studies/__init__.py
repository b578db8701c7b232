"""Studies of agents: several seeds in processes, learning curves with intervals, search for settings."""
