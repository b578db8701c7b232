"""Entry point of `python -m kerasdl`, the command line."""

from kerasdl.cli import main

if __name__ == "__main__":
    main()
