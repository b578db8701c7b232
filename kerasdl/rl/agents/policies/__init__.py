"""Parts of policy-gradient agents: distributions of actions, rollouts and the updates around them."""
