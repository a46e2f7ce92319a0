#!/bin/sh
# Set up, then lint, check types and run all tests.
. "$(dirname "$0")/environment.sh"
# the page of `underpaint serve` is tested in Chromium; where it cannot be installed, that is skipped
if ! command -v chromium >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    { apt-get update && apt-get install --yes --no-install-recommends chromium; } >/dev/null 2>&1 ||
        echo "no Chromium could be installed: the tests of the gallery's page are skipped" >&2
fi
ruff check .
ruff format --check .
mypy
python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile "$@"
