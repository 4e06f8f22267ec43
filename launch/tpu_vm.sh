#!/usr/bin/env bash
# Trains on a Cloud TPU VM, one host or the many of a slice: makes it if it is not there, copies
# this checkout to every host, installs, and starts training on all of them.
#
#   bash launch/tpu_vm.sh --name=tpu --zone=us-central2-b --type=v4-16 \
#       --setup='mountpoint -q /mnt/runs || sudo mount 10.0.0.2:/runs /mnt/runs' -- \
#       --config=configs/cm_trace.py:digits --workdir=/mnt/runs/digits
#
#   --name=NAME --zone=ZONE    the VM's
#   --type=TYPE                accelerator type, for making it
#   --project=PROJECT          gcloud's default if absent
#   --version=VERSION          of the VM's software (tpu-ubuntu2204-base)
#   --spot                     makes a VM that costs less and may be taken away
#   --setup=COMMAND            run on every host before the installation, for example a mount
#   --logs                     shows what the first host writes, and does nothing else
#   --stop                     sends SIGTERM, upon which training saves a checkpoint
#   --delete                   deletes the VM
#   --dry_run                  prints the commands and runs nothing
#
# The workdir must be a folder that all hosts see (a mounted Filestore or NFS volume): gs://
# addresses are not read. A VM that was taken away is made anew when this runs again, and training
# goes on from the last checkpoint in the workdir. Data that a config names must be on every
# host too.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh

fail() { echo "launch/tpu_vm.sh: $*" >&2; exit 2; }

name='' zone='' type='' version=tpu-ubuntu2204-base setup='' action=train dry_run=false
common=() extra=()
while [ $# -gt 0 ]; do
  case "$1" in
    --name=*) name="${1#*=}" ;;
    --zone=*) zone="${1#*=}" ;;
    --type=*) type="${1#*=}" ;;
    --project=*) common+=("--project=${1#*=}") ;;
    --version=*) version="${1#*=}" ;;
    --spot) extra+=(--spot) ;;
    --setup=*) setup="${1#*=}" ;;
    --logs) action=logs ;;
    --stop) action=stop ;;
    --delete) action=delete ;;
    --dry_run) dry_run=true ;;
    --) shift; break ;;
    *) fail "$1: expected one of the options in the head of this file, then -- and training's" ;;
  esac
  shift
done
[ -n "$name" ] && [ -n "$zone" ] || fail "--name and --zone are required"
common=("--zone=$zone" "${common[@]}")

tpu=(gcloud compute tpus tpu-vm)
run() { if $dry_run; then show_command "$@"; else "$@"; fi; }
on() { run "${tpu[@]}" ssh "$name" "${common[@]}" "--worker=$1" "--command=$2"; }

# shellcheck disable=SC2016 # expanded on the hosts
case "$action" in
  logs) on 0 'tail -n 100 -F noisyjax.log'; exit ;;
  stop) on all 'kill -TERM "$(cat noisyjax.pid)"'; exit ;;
  delete) run "${tpu[@]}" delete "$name" "${common[@]}"; exit ;;
esac

training="$(show_command .venv/bin/python -m noisyjax.cli.train "$@")"
create=("${tpu[@]}" create "$name" "${common[@]}" "--accelerator-type=$type" "--version=$version"
  ${extra[@]+"${extra[@]}"})
describe=("${tpu[@]}" describe "$name" "${common[@]}" '--format=value(state)')

if $dry_run; then
  state=ABSENT
  show_command "${describe[@]}"
  echo "# if it is not there:"
else
  state="$("${describe[@]}" 2>/dev/null || echo ABSENT)"
fi
case "$state" in
  READY) ;;
  ABSENT | PREEMPTED | TERMINATED)
    [ -n "$type" ] || fail "--type: required, for $name is not there"
    [ "$state" = ABSENT ] || run "${tpu[@]}" delete "$name" "${common[@]}" --quiet
    run "${create[@]}"
    ;;
  *) fail "$name is $state: expected READY, or none of that name" ;;
esac

archive="${TMPDIR:-/tmp}/noisyjax-$name.tar.gz"
run tar -czf "$archive" --exclude=./.git --exclude='./.venv*' --exclude=./runs --exclude=./build \
  --exclude=./.jax_cache --exclude=__pycache__ .
# shellcheck disable=SC2016 # expanded on the hosts
on all '! kill -0 "$(cat noisyjax.pid)" 2>/dev/null || { echo "it trains already"; exit 1; }'
run "${tpu[@]}" scp "$archive" "$name:" "${common[@]}" --worker=all
run rm "$archive"
[ -z "$setup" ] || on all "$setup"
# With uv, for the VM's own Python is older than 3.11.
# shellcheck disable=SC2016 # expanded on the hosts
on all 'mkdir -p noisyjax && tar -xzf noisyjax.tar.gz -C noisyjax && cd noisyjax &&'\
' python3 -m pip install --quiet --user uv && uv=~/.local/bin/uv &&'\
' { [ -d .venv ] || "$uv" venv --quiet --python=3.12 .venv; } &&'\
' "$uv" pip install --quiet --python=.venv --editable . "jax[tpu]"'
# Cut off from the connection; the processes find each other through the VM's metadata.
on all "cd noisyjax && { nohup $training >>../noisyjax.log 2>&1 </dev/null &"\
' echo $! >../noisyjax.pid; }'
echo "# log of the first host: bash launch/tpu_vm.sh --name=$name --zone=$zone --logs"
