"""Off-policy actor-critics: a policy follows the gradient of learnt action values, from a replay buffer."""
