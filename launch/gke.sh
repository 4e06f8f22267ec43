#!/usr/bin/env bash
# Trains on Kubernetes: fills in launch/gke.yaml and sends it off with kubectl.
#
#   bash launch/gke.sh --name=digits --image=REGISTRY/noisyjax --claim=runs --processes=2 \
#       --resource=nvidia.com/gpu=8 --select=cloud.google.com/gke-nodepool=a100 -- \
#       --config=configs/cm_trace.py:digits --workdir=/runs/digits
#
#   --name=NAME            of the Job and its service
#   --image=IMAGE          a container image in whose working directory this checkout is installed
#   --claim=CLAIM          a claim for a volume with access mode ReadWriteMany (Filestore, NFS)
#   --mount=FOLDER         where the pods see it (/runs); the workdir is in it
#   --processes=N          pods (1)
#   --resource=NAME=COUNT  of each pod, may be repeated: nvidia.com/gpu, google.com/tpu, cpu, memory
#   --select=LABEL=VALUE   of the nodes, may be repeated; TPUs need the labels
#                          cloud.google.com/gke-tpu-topology and -accelerator
#   --dry_run              prints the manifest and runs nothing
#
# To take up a run that ended: kubectl delete job NAME, and the same command again.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "launch/gke.sh: $*" >&2; exit 2; }

# A JSON string; JSON is YAML, and none of its values can break out of its place.
quote() {
  local text="$1"
  text="${text//\\/\\\\}"
  text="${text//$'\n'/\\n}"
  printf '"%s"' "${text//\"/\\\"}"
}
entry() {
  [[ "$1" =~ ^([^=]+)=(.+)$ ]] || fail "$1: expected NAME=VALUE"
  echo "$(quote "${BASH_REMATCH[1]}"): $(quote "${BASH_REMATCH[2]}")"
}
list() {
  local out='' each
  for each in "$@"; do out+="${out:+, }$each"; done
  echo "$out"
}

name='' image='' claim='' mount=/runs processes=1 resources=() selectors=() tpu=false dry_run=false
while [ $# -gt 0 ]; do
  case "$1" in
    --name=*) name="${1#*=}" ;;
    --image=*) image="${1#*=}" ;;
    --claim=*) claim="${1#*=}" ;;
    --mount=*) mount="${1#*=}" ;;
    --processes=*) processes="${1#*=}" ;;
    --resource=*)
      [[ "$1" != --resource=google.com/tpu=* ]] || tpu=true
      resources+=("$(entry "${1#*=}")")
      ;;
    --select=*) selectors+=("$(entry "${1#*=}")") ;;
    --dry_run) dry_run=true ;;
    --) shift; break ;;
    *) fail "$1: expected one of the options in the head of this file, then -- and training's" ;;
  esac
  shift
done
# Pods are called NAME-INDEX-xxxxx, which may have 63 characters.
[[ "$name" =~ ^[a-z]([a-z0-9-]{0,48}[a-z0-9])?$ ]] ||
  fail "--name: expected up to 50 small letters, digits and hyphens, got '$name'"
[[ "$processes" =~ ^[1-9][0-9]*$ ]] || fail "--processes: expected 1 or more, got $processes"
[ -n "$image" ] && [ -n "$claim" ] || fail "--image and --claim are required"

# Nodes may have to be made, and the image fetched, before the last pod is there.
command=(python -m noisyjax.cli.train --start_seconds=900 "$@")
# On TPUs JAX finds out by itself. Elsewhere it would need the right to read pods and Jobs.
if ! $tpu; then
  command+=("--coordinator=$name-0.$name:8476" "--num_processes=$processes")
  # shellcheck disable=SC2016 # Kubernetes puts it in
  command+=('--process_id=$(PROCESS_ID)')
fi
words=()
for word in "${command[@]}"; do words+=("$(quote "$word")"); done

manifest="$(<launch/gke.yaml)"
fill() { manifest="${manifest//"\${$1}"/"$2"}"; }
fill NAME "$name"
fill IMAGE "$(quote "$image")"
fill CLAIM "$(quote "$claim")"
fill MOUNT "$(quote "$mount")"
fill PROCESSES "$processes"
fill RESOURCES "{$(list ${resources[@]+"${resources[@]}"})}"
fill SELECTOR "{$(list ${selectors[@]+"${selectors[@]}"})}"
fill COMMAND "[$(list "${words[@]}")]"

if $dry_run; then
  echo "$manifest"
else
  kubectl apply --filename=- <<<"$manifest"
  echo "the logs: kubectl logs --follow --prefix --selector=job-name=$name"
fi
