# Sourced by the two commands of the README: makes the virtual environment .venv once, installs the
# package in it with pinned dependencies, and puts it first on PATH.
set -eu
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Underpaint needs Python 3.11 or newer; set PYTHON to its path" >&2
    exit 2
}
if [ ! -e .venv/installed ] || [ pyproject.toml -nt .venv/installed ] ||
    [ constraints.txt -nt .venv/installed ]; then
    echo "setting up .venv (once; PyTorch is large)" >&2
    "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --constraint constraints.txt --editable '.[test]'
    # mypy does not follow the folder mapping of an editable install. It reads these links instead,
    # which show the packages under their installed names (`mypy_path` in pyproject.toml).
    rm -rf .venv/types
    mkdir -p .venv/types/underpaint
    for part in infra/package/*.py infra/package/py.typed codec transforms pipelines; do
        ln -s "$PWD/$part" .venv/types/underpaint/
    done
    touch .venv/installed
fi
PATH="$PWD/.venv/bin:$PATH"
export PATH
