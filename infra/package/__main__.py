"""Runs the command line: `python -P -m underpaint`."""

import sys

from underpaint.pipelines.cli.main import main

sys.exit(main())
