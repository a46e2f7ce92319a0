#!/bin/sh
# Trains both profiles of the package from photos, run by run as the page of the weights tells:
#
#     sh infra/train_profiles.sh PHOTOS EXTRACTOR FOLDER [options of underpaint train]
#
# PHOTOS is a folder of photos, EXTRACTOR the ONNX file of SqueezeNet 1.1. FOLDER receives the files
# of each run, perceptual.safetensors and fidelity.safetensors last. It takes several hours of one
# core. A script that was stopped goes on when the same command is given again. Options that follow
# replace those of every run, for example `--steps 2 --classes 4` to try it.
set -eu
[ $# -ge 3 ] || {
    echo "usage: sh infra/train_profiles.sh PHOTOS EXTRACTOR FOLDER [options]" >&2
    exit 2
}
photos=$1
extractor=$2
folder=$3
shift 3
more=$*
mkdir -p "$folder"

large="--coarse-width 160 --coarse-hidden 320 --coarse-depth 4 --fine-width 64 --fine-hidden 128
    --fine-depth 4 --shared 16"
small="--coarse-width 96 --coarse-hidden 96 --coarse-depth 2 --fine-width 64 --fine-hidden 64
    --fine-depth 4 --shared 8"
# lightness of equal shares of red, green and blue, as all runs had before `perceptual-sheared`
equal="--shear 0 0"
# steps of `perceptual` before they were searched along their gradient
steps="--level-steps 0.8 1.7 1 0.75 0.65 0.62 0.8 --first-chroma-steps 1.2 1.2 1.2 1.2 1.2 1.2 1.2
    --second-chroma-steps 1.2 1.2 1.2 1.2 1.2 1.2 1.2 --diagonal-steps 1 1 1 1 1 1 --power 0.7 $equal"
# runs before drawn pictures, and before contexts were fitted on 300 photos
photographs="--drawn 0"
early="$photographs --context-photos 150"

run() { # NAME PROFILE OPTION...: makes $folder/NAME.safetensors
    name=$1
    profile=$2
    shift 2
    [ -e "$folder/$name.done" ] && return
    echo "run $name" >&2
    # shellcheck disable=SC2086
    underpaint train "$photos" --output "$folder/$name.safetensors" --profile "$profile" \
        --threads 1 "$@" $more
    : >"$folder/$name.done"
}

from() { # NAME: the file of an earlier run
    echo "$folder/$1.safetensors"
}

# shellcheck disable=SC2086  # words of the options above are to be split
{
    run first fidelity $early $large --masking 0.6 --pattern-weight 0 --ssim-weight 0.25 --steps 6000
    run perceptual-network perceptual $early $large $steps --start-from "$(from first)" \
        --pattern-weight 0 --steps 5600 --extractor "$extractor" --extractor-input caffe
    run fidelity-network fidelity $early $large --start-from "$(from first)" \
        --pattern-weight 0 --steps 4000 --learning-rate 1e-3 \
        --extractor "$extractor" --extractor-input caffe
    run perceptual-network-2 perceptual $early $large $steps \
        --start-from "$(from perceptual-network)" --keep classes --steps 1500 \
        --learning-rate 1e-3 --extractor "$extractor" --extractor-input caffe
    run perceptual-tables perceptual $early $large $steps \
        --start-from "$(from perceptual-network-2)" --keep classes --steps 0
    run fidelity-tables fidelity $early $large --start-from "$(from fidelity-network)" \
        --keep classes --pattern-weight 0 --steps 1600 --learning-rate 5e-4 \
        --extractor "$extractor" --extractor-input caffe
    run perceptual-latents perceptual $early $large $steps \
        --start-from "$(from perceptual-tables)" --keep all --steps 0
    run fidelity-latents fidelity $early $large \
        --start-from "$(from fidelity-tables)" --keep all --steps 0
    run perceptual-distilled perceptual $early $small $steps \
        --start-from "$(from perceptual-latents)" --keep all --steps 1250 --learning-rate 1e-3 \
        --teacher "$(from perceptual-latents)" --teacher-weight 1
    run fidelity-distilled fidelity $early $small \
        --start-from "$(from fidelity-latents)" --keep all --steps 1000 --learning-rate 1e-3 \
        --teacher "$(from fidelity-latents)" --teacher-weight 1
    run fidelity-lifted fidelity $early $small \
        --start-from "$(from fidelity-distilled)" --keep all --steps 2000 --learning-rate 1e-3 \
        --lifting-steps 6000 --lifting-measure-every 250
    run fidelity-refitted fidelity $early $small \
        --start-from "$(from fidelity-lifted)" --keep classes --steps 0
    run perceptual-fitted perceptual $photographs $small $steps \
        --start-from "$(from perceptual-distilled)" --keep classes --steps 0
    run fidelity-fitted fidelity $photographs $small \
        --start-from "$(from fidelity-refitted)" --keep classes --steps 0
    run fidelity-large fidelity $large \
        --start-from "$(from fidelity-fitted)" --network-from "$(from fidelity-latents)" \
        --keep all --steps 2400 --learning-rate 1e-3
    run fidelity-drawn fidelity $large \
        --start-from "$(from fidelity-large)" --keep all --steps 2400 --learning-rate 1e-3
    run fidelity-flat fidelity $large --start-from "$(from fidelity-drawn)" --keep all --steps 350 \
        --learning-rate 5e-4 --warm-up 20 --drawn 0.4
    run perceptual-steps perceptual $photographs $small $equal \
        --start-from "$(from perceptual-fitted)" --keep classes --steps 0
    run perceptual-refined perceptual $small $equal \
        --start-from "$(from perceptual-steps)" --keep all \
        --steps 1400 --learning-rate 1e-3 --pattern-weight 0.3 \
        --extractor "$extractor" --extractor-input caffe
    run perceptual-estimates perceptual $small $equal --start-from "$(from perceptual-refined)" \
        --keep classes --steps 0
    run perceptual-sheared perceptual $small --start-from "$(from perceptual-estimates)" \
        --keep classes --steps 0
    run perceptual perceptual $small --start-from "$(from perceptual-sheared)" --keep all \
        --steps 1600 --learning-rate 1e-3 --pattern-weight 0.3 \
        --extractor "$extractor" --extractor-input caffe
    run fidelity fidelity $large --start-from "$(from fidelity-flat)" --keep classes --steps 0
}
