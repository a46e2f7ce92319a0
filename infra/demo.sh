#!/bin/sh
# Sets up, encodes the photos that scikit-image and scikit-learn carry, verifies the archive, and
# decodes the first 1, 2, 3 and 6 layers as pictures.
. "$(dirname "$0")/environment.sh"
rm -rf demo
photos=$(python - <<'PYTHON'
from pathlib import Path
import skimage, sklearn

pictures = Path(skimage.__file__).parent / "data"
for path in sorted((Path(sklearn.__file__).parent / "datasets" / "images").glob("*.jpg")):
    print(path)
for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg"):
    print(pictures / name)
PYTHON
)
IFS='
'
# shellcheck disable=SC2086  # one photo a line
underpaint warm
underpaint encode $photos --output demo/archive
underpaint verify demo/archive
for layers in 1 2 3 6; do
    underpaint decode demo/archive --output "demo/first-$layers-layers" --layers "$layers"
done
key=$(python -c 'from underpaint import Archive
print(next(row.key for row in Archive.open("demo/archive").rows(layers=1) if "coffee" in row.key))')
underpaint view demo/archive "$key" --html demo/coffee.html --picture demo/coffee.png
cat <<TEXT

look at   demo/coffee.png, demo/coffee.html   one photo with 1 to 6 layers, palettes, class maps
          demo/first-1-layers, ...            pictures decoded from the coarsest layers only
          demo/archive                        the archive: Parquet files, one column for each layer

to go on with the command underpaint:         . .venv/bin/activate
TEXT
