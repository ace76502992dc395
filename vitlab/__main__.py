"""The command `vitlab`, as `python -m vitlab` too, and with it `accelerate launch -m vitlab train ...`."""

import sys


def main() -> None:
    """Run the command. An interruption says no more than that, from the first import on."""
    try:
        from vitlab.cli import app

        app()
    except KeyboardInterrupt:
        sys.exit("Interrupted.")


if __name__ == "__main__":
    main()
