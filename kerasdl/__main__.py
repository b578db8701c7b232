"""`python -m kerasdl` is the command line."""

from kerasdl.cli import main

if __name__ == "__main__":
    main()
