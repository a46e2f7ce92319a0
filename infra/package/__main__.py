"""Runs the command line: `underpaint`, or `python -P -m underpaint`."""

import sys

from underpaint.codec.runtime.interrupts import STATUS, ignore_more, stop_once


def main() -> int:
    """Run the command line of this process and return its exit status."""
    stop_once()
    try:
        from underpaint.pipelines.cli.main import main as run

        return run()
    except KeyboardInterrupt:  # before the command has begun
        print("underpaint: stopped", file=sys.stderr)
        return STATUS
    finally:
        ignore_more()


if __name__ == "__main__":
    sys.exit(main())
