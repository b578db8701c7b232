"""Small games: bandits, pixels, several agents."""
