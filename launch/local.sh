#!/usr/bin/env bash
# Trains with several processes on this machine.
#
#   bash launch/local.sh --processes=2 --devices=4 -- \
#       --config=configs/cm_trace.py:digits --workdir=runs/digits
#
#   --processes=N   processes (2)
#   --devices=N     devices of each: pretended CPU devices, or GPUs (1)
#   --platform=P    cpu or gpu (cpu); process I sees the GPUs I*devices, I*devices+1, ... of
#                   CUDA_VISIBLE_DEVICES, or of the machine if that is not set
#   --port=P        port of the coordinator (a free one)
#   --logs=FOLDER   writes FOLDER/process_I.log instead of showing the lines with "[I] " before them
#   --grace=S       seconds until the others are killed once one has failed (60)
#   --dry_run       prints the commands and runs nothing
#
# What follows -- goes to `python -m noisyjax.cli.train`; PYTHON chooses the interpreter (python3).
# If a process fails the others are asked to end, and its code is returned. SIGTERM and Ctrl-C are
# passed on as SIGTERM, upon which training saves a checkpoint; the second time they kill.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh

fail() { echo "launch/local.sh: $*" >&2; exit 2; }

processes=2 devices=1 platform=cpu port='' logs='' grace=60 dry_run=false
while [ $# -gt 0 ]; do
  case "$1" in
    --processes=*) processes="${1#*=}" ;;
    --devices=*) devices="${1#*=}" ;;
    --platform=*) platform="${1#*=}" ;;
    --port=*) port="${1#*=}" ;;
    --logs=*) logs="${1#*=}" ;;
    --grace=*) grace="${1#*=}" ;;
    --dry_run) dry_run=true ;;
    --) shift; break ;;
    *) fail "$1: expected one of the options in the head of this file, then -- and training's" ;;
  esac
  shift
done
for count in "$processes" "$devices"; do
  [[ "$count" =~ ^[1-9][0-9]*$ ]] || fail "--processes, --devices: expected 1 or more, got $count"
done
[[ "$grace" =~ ^[0-9]+$ ]] || fail "--grace: expected seconds, got $grace"

free_port() {
  local port
  while port=$((20000 + RANDOM % 10000)); (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
  echo "$port"
}

# The GPUs that are shared out, one index or id per entry.
gpus=()
case "$platform" in
  cpu) ;;
  gpu)
    if [ -n "${CUDA_VISIBLE_DEVICES:-}" ]; then
      IFS=, read -ra gpus <<<"$CUDA_VISIBLE_DEVICES"
      [ ${#gpus[@]} -ge $((processes * devices)) ] || fail \
        "--processes times --devices: $((processes * devices)), but CUDA_VISIBLE_DEVICES has" \
        "${#gpus[@]}: $CUDA_VISIBLE_DEVICES"
    else
      for ((gpu = 0; gpu < processes * devices; gpu++)); do gpus+=("$gpu"); done
    fi
    ;;
  *) fail "--platform: expected cpu or gpu, got $platform" ;;
esac

# Sets `command` to the command line of one process.
command_of() {
  local process="$1"
  if [ "$platform" = gpu ]; then
    local share
    share="$(IFS=,; echo "${gpus[*]:process * devices:devices}")"
    command=(env "CUDA_VISIBLE_DEVICES=$share")
  else
    command=(env JAX_PLATFORMS=cpu "JAX_NUM_CPU_DEVICES=$devices")
  fi
  command+=("${PYTHON:-python3}" -m noisyjax.cli.train "${arguments[@]}")
  if [ "$processes" -gt 1 ]; then
    command+=("--coordinator=127.0.0.1:$port" "--num_processes=$processes" "--process_id=$process")
  fi
}

arguments=("$@")
port="${port:-$(free_port)}"
if $dry_run; then
  for ((process = 0; process < processes; process++)); do
    command_of "$process"
    show_command "${command[@]}"
  done
  exit
fi

pids=() readers=()
# Not to their workers: a process needs them until its checkpoint is written.
end_all() { for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done; }
kill_all() { for pid in "${pids[@]}"; do kill -KILL -- "-$pid" 2>/dev/null || true; done; }
asked=0
# shellcheck disable=SC2329 # called by the traps
ask() {
  if [ "$asked" = 0 ]; then
    asked="$1"
    end_all
  else
    kill_all
  fi
}

pipes="$(mktemp -d)"
trap 'rm -rf "$pipes"' EXIT
trap 'ask 143' TERM
trap 'ask 130' INT

[ -z "$logs" ] || mkdir -p "$logs"
set -m # each process leads a group of its own, so that Ctrl-C reaches this script only
for ((process = 0; process < processes; process++)); do
  command_of "$process"
  if [ -n "$logs" ]; then
    output="$logs/process_$process.log"
  else
    output="$pipes/$process"
    mkfifo "$output"
    sed -u "s/^/[$process] /" <"$output" &
    readers+=($!)
  fi
  "${command[@]}" >>"$output" 2>&1 </dev/null &
  pids+=($!)
done
set +m
# Asked while some were still being started.
[ "$asked" = 0 ] || end_all

# Looks instead of waiting for the next to end: that needs a newer bash.
first=0 deadline='' running=("${!pids[@]}")
while [ ${#running[@]} -gt 0 ]; do
  left=()
  for process in "${running[@]}"; do
    if kill -0 "${pids[process]}" 2>/dev/null; then
      left+=("$process")
      continue
    fi
    code=0
    wait "${pids[process]}" || code=$?
    if [ "$code" != 0 ] && [ "$first" = 0 ]; then
      first="$code"
      if [ "$asked" = 0 ]; then
        echo "launch/local.sh: process $process ended with $code; ending the others" >&2
        end_all
        deadline=$((SECONDS + grace))
      fi
    fi
  done
  running=(${left[@]+"${left[@]}"})
  if [ -n "$deadline" ] && [ "$SECONDS" -ge "$deadline" ] && [ ${#running[@]} -gt 0 ]; then
    kill_all
    deadline=''
  fi
  [ ${#running[@]} = 0 ] || sleep 0.1
done
[ ${#readers[@]} = 0 ] || wait "${readers[@]}" || true
[ "$asked" = 0 ] || exit "$asked"
exit "$first"
