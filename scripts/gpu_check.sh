#!/usr/bin/env bash
# All that one GPU can show of mdr_tune in ten minutes: tests, then benchmarks. docs/gpu.md says more.
#
#   scripts/gpu_check.sh                  # writes gpu_check/check.json, check.md and check.log
#   scripts/gpu_check.sh --cpu            # tries the check itself where there is no GPU, with small sizes
#   PYTHON=python3 scripts/gpu_check.sh --out DIR
#
# Exit code: 0 all passed, 1 something failed or found no time, 2 there is no GPU or a package is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${PYTHON:-}" ]; then
  PYTHON=python3
  [ -x .venv/bin/python ] && PYTHON=.venv/bin/python
fi
exec "$PYTHON" benchmarks/gpu_check.py "$@"
