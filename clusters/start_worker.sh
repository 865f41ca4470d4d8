#!/usr/bin/env bash
# `ray start` with these arguments, on a machine that nobody switches off after `ray down`: all of Ray here ends a minute
# after the head has gone, or as soon as its raylet ends. Returns when this node has joined, or says why it could not.
set -euo pipefail

log=$HOME/.mdr_tune/ray_start.log
timeout_s=120

ray stop
unset OMP_NUM_THREADS PYTHONWARNINGS RAY_ADDRESS # Ray sets the first two for its set-up; workers would inherit them
rm -f "$log"
# A session of its own, so that what is left when `ray start --block` returns can be ended, and nothing else.
PYTHONUNBUFFERED=1 setsid bash -c 'ray start --block "$@"; pkill -KILL -s 0' ray "$@" >"$log" 2>&1 </dev/null &
session=$!
for _ in $(seq "$timeout_s"); do
  grep -qs "Ray runtime started" "$log" && exit 0
  kill -0 "$session" 2>/dev/null || break
  sleep 1
done
cat "$log" >&2
echo "start_worker.sh: $(hostname) did not join the cluster (see above)" >&2
pkill -KILL -s "$session" || true
exit 1
