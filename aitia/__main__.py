"""`python -m aitia`: the command line."""

from aitia.cli import main

if __name__ == "__main__":
    main()
