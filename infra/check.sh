#!/bin/sh
# Set up, then lint, check types and run all tests.
. "$(dirname "$0")/environment.sh"
ruff check .
ruff format --check .
mypy
python -m pytest "$@"
