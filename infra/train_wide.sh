#!/bin/sh
# Trains the profile `fidelity` anew, from photos, on a GPU, with a learned lifting step of three
# times today's channels, and at 1/4 of the sides six blocks of 96 channels instead of four of 64:
#
#     sh infra/train_wide.sh PHOTOS OUTPUT.safetensors [options of underpaint train]
#
# Planned for ten minutes of one data-centre GPU and 16 CPU cores; not measured yet. A run that was
# stopped goes on when the same command is given again. Options that follow replace those below,
# for example `--device cpu --steps 10 --lifting-steps 10` to try it without a GPU.
set -eu
[ $# -ge 2 ] || {
    echo "usage: sh infra/train_wide.sh PHOTOS OUTPUT.safetensors [options of underpaint train]" >&2
    exit 2
}
photos=$1
output=$2
shift 2
exec underpaint train "$photos" --output "$output" --profile fidelity --device cuda \
    --context-photos 150 --latent-photos 150 \
    --lifting-steps 8000 --lifting-widths 48 64 96 96 --lifting-batch 32 \
    --lifting-measure-every 1000 \
    --steps 8000 --batch 32 --crop 192 --measure-every 2000 \
    --coarse-width 160 --coarse-hidden 320 --coarse-depth 4 \
    --fine-width 96 --fine-hidden 192 --fine-depth 6 --shared 16 \
    "$@"
