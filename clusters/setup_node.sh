#!/usr/bin/env bash
# Make this machine a node: the pinned environment, and what each later shell needs to know. Quick if nothing changed.
#   bash ~/mdr_tune/clusters/setup_node.sh [--head]
# --head: shells also learn where Ray and MLflow are, so that `python launch.py` uses the cluster.
# MDR_TUNE_ENV=/path/to/venv: use this environment, which has the pinned versions, and install nothing.
set -euo pipefail

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state=$HOME/.mdr_tune
own=$HOME/mdr_tune_env
environment=${MDR_TUNE_ENV:-$own}
needed_kb=$((10 * 1024 * 1024))

fail() {
  echo "setup_node.sh: on $(hostname): $*" >&2
  exit 1
}

pinned() { # name
  sed -n "s/^$1==\([^ ;]*\).*/\1/p" "$project/requirements.txt"
}

# Prints the path of uv, the pinned version, which is installed beside the environment if it is not there.
uv() {
  local version python=$state/uv/bin/python
  version=$(pinned uv)
  if [ "$("$state/uv/bin/uv" --version 2>/dev/null | cut -d ' ' -f 2)" = "$version" ]; then
    echo "$state/uv/bin/uv"
    return
  fi
  command -v python3 >/dev/null || fail "there is no python3; install it: sudo apt-get install python3 python3-venv"
  rm -rf "$state/uv"
  python3 -m venv "$state/uv" >"$state/uv.log" 2>&1 ||
    fail "python3 -m venv does not work; install it: sudo apt-get install python3-venv (see $state/uv.log)"
  "$python" -m pip install --quiet --disable-pip-version-check "uv==$version" >"$state/uv.log" 2>&1 ||
    fail "uv $version could not be installed; can this machine reach a Python package index? (see $state/uv.log)"
  echo "$state/uv/bin/uv"
}

check_room() {
  local free_kb
  free_kb=$(df -Pk "$HOME" | awk 'NR == 2 {print $4}')
  [ "$free_kb" -ge "$needed_kb" ] ||
    fail "$HOME has $((free_kb / 1024 / 1024)) GB free, the environment needs $((needed_kb / 1024 / 1024)) GB; make room"
}

install() {
  local stamp want uv
  stamp=$own/.mdr_tune_installed
  want=$(cat "$project/requirements.txt" "$project/pyproject.toml" <(echo "$project") | sha256sum)
  if [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
    echo "setup_node.sh: $own is up to date"
    return
  fi
  [ -e "$own/bin/python" ] || check_room
  uv=$(uv)
  [ -e "$own/bin/python" ] || "$uv" venv --quiet --python 3.11 "$own" ||
    fail "there is no Python 3.11 and uv could not get one; install it, or give this machine access to the internet"
  echo "setup_node.sh: installing into $own; the first time this takes minutes"
  export VIRTUAL_ENV=$own UV_NO_PROGRESS=1 UV_LINK_MODE=${UV_LINK_MODE:-hardlink}
  rm -f "$stamp"
  "$uv" pip sync --quiet "$project/requirements.txt" ||
    fail "the packages could not be installed (see above); run this again once a Python package index can be reached"
  "$uv" pip install --quiet --no-deps --no-build-isolation --editable "$project" ||
    fail "mdr_tune could not be installed from $project (see above)"
  echo "$want" >"$stamp"
}

check_given() {
  [ -x "$environment/bin/python" ] || fail "MDR_TUNE_ENV=$environment: there is no bin/python in it"
  "$environment/bin/python" "$project/clusters/check_pins.py" "$project" ||
    fail "MDR_TUNE_ENV=$environment: it is not what requirements.txt pins (see above); install that, or leave MDR_TUNE_ENV out"
  [ -x "$environment/bin/mdr-tune" ] ||
    fail "MDR_TUNE_ENV=$environment: mdr_tune is not in it; install it: $environment/bin/python -m pip install --no-deps -e $project"
}

# What each shell reads. Addresses are looked up by the shell: a home that machines share has one such file for all.
write_environment() { # head or worker
  {
    echo "export PATH='$environment/bin':\"\$PATH\""
    [ "$environment" = "$own" ] || echo "export PYTHONPATH='$project' # the synced project, whatever is installed"
    cat <<'SHELL'
export RAY_AUTH_MODE=token
if [ -n "${SSH_CONNECTION:-}" ]; then # the address by which this machine was reached
  export MDR_TUNE_NODE_IP=$(echo "$SSH_CONNECTION" | cut -d ' ' -f 3)
  case $(getent ahostsv4 "$(hostname)" | head -n 1) in
  127.* | "") # gloo would tell the others this address, as its own
    export GLOO_SOCKET_IFNAME=$(ip -o -4 address show to "$MDR_TUNE_NODE_IP" | awk '{print $2; exit}')
    export NCCL_SOCKET_IFNAME=$GLOO_SOCKET_IFNAME
    ;;
  esac
fi
SHELL
    if [ "$1" = head ]; then
      echo "export RAY_ADDRESS=127.0.0.1:6379 MLFLOW_TRACKING_URI=http://127.0.0.1:5000"
    fi
  } >"$state/environment.sh.new"
  mv "$state/environment.sh.new" "$state/environment.sh"
}

# At the top: most .bashrc files return early in shells that are not interactive.
read_environment_in_shells() {
  local line='[ ! -f ~/.mdr_tune/environment.sh ] || . ~/.mdr_tune/environment.sh # mdr_tune'
  touch "$HOME/.bashrc"
  grep -qxF "$line" "$HOME/.bashrc" && return
  { echo "$line" && cat "$HOME/.bashrc"; } >"$state/bashrc.new"
  cat "$state/bashrc.new" >"$HOME/.bashrc"
  rm "$state/bashrc.new"
}

keep_token_private() {
  [ ! -e "$HOME/.ray/auth_token" ] || chmod 600 "$HOME/.ray/auth_token"
}

case ${1:-} in
--head) kind=head ;;
"") kind=worker ;;
*) fail "unknown argument $1; there is --head only" ;;
esac
mkdir -p "$state"
exec 9>>"$state/lock"
flock 9 # machines that share a home take turns
if [ "$environment" = "$own" ]; then install; else check_given; fi
write_environment "$kind"
read_environment_in_shells
keep_token_private
