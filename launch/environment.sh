# shellcheck shell=bash
# Sourced by the other scripts.

# Makes a virtual environment and installs noisyjax into it.
#
#   make_environment .venv '.[test]'
#
# PYTHON chooses the interpreter (3.11 or later; default python3).

make_environment() {
  local folder="$1" package="$2" python="${PYTHON:-python3}"
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "noisyjax needs Python 3.11 or later; '$python' is $("$python" --version 2>&1)." >&2
    echo "Name another one: PYTHON=python3.12 bash $0" >&2
    return 1
  fi
  if [ ! -x "$folder/bin/python" ]; then
    echo "making $folder with $("$python" --version)"
    "$python" -m venv "$folder"
  fi
  echo "installing $package (a few minutes the first time)"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$package"
}

# Prints a command line such that it can be pasted.
show_command() {
  local word line=()
  for word in "$@"; do
    if [[ "$word" =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then line+=("$word"); else line+=("${word@Q}"); fi
  done
  echo "${line[*]}"
}
