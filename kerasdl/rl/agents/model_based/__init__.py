"""Model-based agents: dynamics that networks learn, planning and imagined rollouts in them."""
