"""The command `vitlab`, as `python -m vitlab` too, and with it `accelerate launch -m vitlab train ...`."""

import os
import sys


def main() -> None:
    """Run the command. An interruption says no more than that, from the first import on."""
    try:
        from vitlab.cli import app

        app()
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
    except OSError as error:  # before a command begins there is only the help to write
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still in the buffer fails no more
        sys.exit(f"Error: the help cannot be written: {error.strerror}.")


if __name__ == "__main__":
    main()
