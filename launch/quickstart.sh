#!/usr/bin/env bash
# Makes an environment, installs noisyjax, and trains majority vote, mean label, CM + trace and the
# oracle on real digits with simulated annotators. Ends with a table and figures in
# runs/quickstart. Nothing but Python packages is downloaded.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh
make_environment .venv .
exec .venv/bin/python -m noisyjax.cli.study --config=configs/quickstart.py \
  --workdir=runs/quickstart "$@"
