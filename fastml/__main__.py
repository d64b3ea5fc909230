"""Run the command `fastml` for ``python -m fastml``."""

from fastml.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
