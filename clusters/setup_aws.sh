#!/usr/bin/env bash
# What Ubuntu's images on AWS lack for setup_node.sh, and for a shell that survives a broken connection (tmux).
set -euo pipefail

apt() {
  sudo DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 "$@"
}

missing=()
for package in python3-venv rsync tmux; do
  dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  cloud-init status --wait >/dev/null || true # it may still be writing apt's sources; its own failures are not ours
  apt update
  apt install -y --no-install-recommends "${missing[@]}"
fi
if command -v nvidia-smi >/dev/null; then
  # An upgrade of the driver under a running sweep would take the GPUs away. Workers live for hours.
  sudo systemctl disable --now unattended-upgrades.service || true
  nvidia-smi --list-gpus || { echo "setup_aws.sh: the driver sees no GPU; take another ImageId" >&2 && exit 1; }
fi
