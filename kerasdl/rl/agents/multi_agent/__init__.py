"""Multi-agent methods: MAPPO, independent PPO and value decomposition, for teams that share one reward."""
