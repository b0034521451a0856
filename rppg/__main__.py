"""Entry point of `rppg` and `python -m rppg`. It names the package if one is missing."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from rppg.cli import main as run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in {"rppg", "gradreg"}:
            raise
        sys.stderr.write(f"rppg: {error.name} is not installed; pip install 'gradreg[rppg]'\n")
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
