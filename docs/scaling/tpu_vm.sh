#!/bin/bash
# One TPU VM that trains and is deleted again: bash tpu_vm.sh PROJECT ZONE BUCKET
# Needs gcloud, logged in, and train.py here, with RunConfig(strategy="tpu", folder="/runs/digits").
set -euo pipefail

project=${1:?the Google Cloud project}
zone=${2:?the zone, such as us-west4-a}
bucket=${3:?the bucket that keeps the run}
name=kerasdl-train
kind=v5litepod-8 # one host; slices of several hosts are not covered
image=v2-alpha-tpuv5-lite
tensorflow=2.21.0 # of tensorflow-tpu; must be the TensorFlow that kerasdl is made for

tpu() {
    gcloud compute tpus tpu-vm "$1" "$name" --project="$project" --zone="$zone" "${@:2}"
}

tpu create --accelerator-type="$kind" --version="$image"
trap 'tpu delete --quiet' EXIT

gcloud compute tpus tpu-vm scp train.py "$name:" --project="$project" --zone="$zone"
tpu ssh --command="python3 -m venv venv && venv/bin/pip install kerasdl && venv/bin/pip uninstall --yes tensorflow &&
    venv/bin/pip install tensorflow-tpu==$tensorflow"

# The run goes to the bucket while it trains, and once more at its end: a preempted VM loses its disk.
tpu ssh --command="runs=gs://$bucket/runs; $(
    cat <<'REMOTE'
sudo mkdir -p /runs && sudo chown "$USER" /runs
gcloud storage rsync --recursive "$runs" /runs || echo "no run to go on with"
while sleep 60; do gcloud storage rsync --recursive /runs "$runs"; done > rsync.log 2>&1 &
copying=$!
code=0
TPU_NAME=local PATH=$PWD/venv/bin:$PATH kerasdl launch -- python train.py || code=$?
kill "$copying"
gcloud storage rsync --recursive /runs "$runs"
exit "$code"
REMOTE
)"
