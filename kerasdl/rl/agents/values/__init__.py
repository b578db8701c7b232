"""Parts of value-based agents: networks of action values, their losses."""
