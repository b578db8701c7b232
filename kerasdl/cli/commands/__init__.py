"""Commands of the command line, one module for each group; those that only list do not load TensorFlow."""

from ..application import app

from . import browsing, learning, asking, chatting, explaining, shipping, reinforcing, machines  # isort: skip

__all__ = [
    "app",
    "asking",
    "browsing",
    "chatting",
    "explaining",
    "learning",
    "machines",
    "main",
    "reinforcing",
    "shipping",
]


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    app()
