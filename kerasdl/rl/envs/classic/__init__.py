"""Classic control: physics of a few numbers, equal to Gymnasium step for step."""
