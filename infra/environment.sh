# Sourced by the two commands of the README: makes the virtual environment .venv beside it once,
# installs the package with its pinned dependencies, and puts it first on PATH.
set -eu
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    echo "Underpaint needs Python 3.10 or newer; set PYTHON to one" >&2
    exit 2
}
if [ ! -e .venv/installed ] || [ pyproject.toml -nt .venv/installed ]; then
    echo "setting up .venv (once; PyTorch is large)" >&2
    "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --constraint constraints.txt --editable '.[test]'
    touch .venv/installed
fi
PATH="$PWD/.venv/bin:$PATH"
export PATH
