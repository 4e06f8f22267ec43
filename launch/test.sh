#!/usr/bin/env bash
# Makes an environment, installs noisyjax with what its tests need, and runs them.
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh
make_environment .venv '.[test]'
.venv/bin/python -m ruff check .
exec .venv/bin/python -m pytest "$@"
