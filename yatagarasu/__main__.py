"""`python -m yatagarasu`, and the console script."""

import sys


def main() -> None:
    """Run the command line."""
    from yatagarasu.cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
