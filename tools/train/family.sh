#!/bin/sh
# Train the whole scenes_* family, one network after the other. Stop it at any moment; the same
# command goes on from there. Measured figures end up in RUNS/figures.txt.
#
#     PYTHON=.venv-train/bin/python RUNS=runs sh tools/train/family.sh
#
# PHOTOS (optional): the folder that photos.py wrote, with train/ and held_out/.
# SPEED: minutes of every part are multiplied by this; 1 is meant for two free CPU cores, 0.1 for a
# GPU. LAUNCH: what runs a script, by default PYTHON; for several GPUs say
# LAUNCH="$PYTHON -m torch.distributed.run --standalone --nproc-per-node=4".
set -eu
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-python3}
RUNS=${RUNS:-runs}
SPEED=${SPEED:-1}
LAUNCH=${LAUNCH:-$PYTHON}
T=tools/train
minutes() { "$PYTHON" -c "print($1 * $SPEED)"; }
mkdir -p "$RUNS"
[ -f "$RUNS/scenes/kinds.npy" ] || "$PYTHON" $T/data.py --out "$RUNS/scenes" --count 9000 --seed 0
[ -f "$RUNS/held/kinds.npy" ] || "$PYTHON" $T/data.py --out "$RUNS/held" --count 400 --seed 1
photos=""
held=""
if [ -n "${PHOTOS:-}" ]; then
    photos="--photos $PHOTOS/train"
    held="--photos $PHOTOS/held_out"
fi

vqgan() { # name, minutes, options
    name=$1
    time=$(minutes "$2")
    shift 2
    [ -f "$RUNS/$name/model.ckpt" ] || $LAUNCH $T/train_vqgan.py --out "$RUNS/$name" \
        --pack "$RUNS/scenes" --steps 1000000 --minutes "$time" "$@"
    [ -f "$RUNS/$name/model.ckpt" ] # a stopped run ends the script here
}
transformer() { # name, minutes, options
    name=$1
    time=$(minutes "$2")
    shift 2
    [ -f "$RUNS/$name/model.ckpt" ] || $LAUNCH $T/train_transformer.py --out "$RUNS/$name" \
        --pack "$RUNS/scenes" --held-out "$RUNS/held" --steps 1000000 --minutes "$time" \
        --first-stage "$RUNS/image/model.ckpt" "$@"
    [ -f "$RUNS/$name/model.ckpt" ]
}
# shellcheck disable=SC2086 # options of one word each
maps="--ch-mult 1 1 1 2 --z-channels 32 --batch 4 --gan-from 1"
vqgan image 140 --batch 4 --crop 128 128 128 256 --gan-from 0.65 $photos
vqgan labels 15 --kind labels $maps
vqgan depth 15 --kind depth $maps
transformer segmentation 140 --task segmentation --cond-stage "$RUNS/labels/model.ckpt"
transformer depth_transformer 100 --task depth --cond-stage "$RUNS/depth/model.ckpt" \
    --init "$RUNS/segmentation/model.ckpt"
transformer class 100 --task class --init "$RUNS/segmentation/model.ckpt"
[ -f "$RUNS/judge.ckpt" ] ||
    "$PYTHON" $T/judge.py --out "$RUNS/judge.ckpt" --pack "$RUNS/scenes" --minutes "$(minutes 10)"
measure() {
    printf '%s ' "$1" >>"$RUNS/figures.txt"
    "$PYTHON" $T/evaluate.py "$@" --pack "$RUNS/held" >>"$RUNS/figures.txt"
}
"$PYTHON" $T/ship.py --runs "$RUNS" --out "$RUNS/shipped"
# shellcheck disable=SC2086
measure vqgan --model "$RUNS/shipped/scenes_vqgan.ckpt" --count 200 --sheet "$RUNS/image.png" $held
measure segmentation --model "$RUNS/shipped/scenes_segmentation_transformer.ckpt" \
    --judge "$RUNS/judge.ckpt" --sheet "$RUNS/segmentation.png"
measure depth --model "$RUNS/shipped/scenes_depth_transformer.ckpt" --judge "$RUNS/judge.ckpt" \
    --sheet "$RUNS/depth.png"
measure class --model "$RUNS/shipped/scenes_class_transformer.ckpt" --judge "$RUNS/judge.ckpt" \
    --train-pack "$RUNS/scenes" --sheet "$RUNS/class.png"
cat "$RUNS/figures.txt"
