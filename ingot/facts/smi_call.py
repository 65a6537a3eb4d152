"""Calling nvidia-smi so that a GPU that hangs cannot hold up whoever asks."""

from __future__ import annotations

#: How long one call may take, seconds. Without a persistence daemon the driver first initialises every GPU, which
#: takes up to two seconds each.
LIMIT_S = 10
PER_GPU_S = 2

# A process in an ioctl that never returns (state D) outlives SIGKILL: nobody waits for it, and it holds none of our
# streams. All calls of one SSH command share the marker ($$ is the same in every subshell), so that only the first
# one waits; a process id comes again, so that an old marker is ignored.
SHELL = f"""smi() {{
  hung=/run/ingot-smi-hangs.$$
  [ ! -e "$hung" ] || [ -z "$(find "$hung" -mmin -1 2>/dev/null)" ] || return 124
  limit={LIMIT_S}
  [ -e /run/nvidia-persistenced/socket ] || for gpu in /proc/driver/nvidia/gpus/*; do
    [ ! -e "$gpu" ] || limit=$((limit + {PER_GPU_S}))
  done
  out=$(mktemp -d) || return 126
  setsid sh -c 'nvidia-smi "$@" >"$0/out" 2>&1; echo $? >"$0/status"' "$out" "$@" >/dev/null 2>&1 &
  call=$!
  tries=$((limit * 10 + 10))
  while [ ! -s "$out/status" ] && [ "$tries" -gt 0 ]; do
    # The first looks are close together: most answers come at once.
    if [ "$tries" -gt $((limit * 10)) ]; then sleep 0.03; else sleep 0.1; fi
    tries=$((tries - 1))
  done
  if [ -s "$out/status" ]; then
    status=$(cat "$out/status")
  else
    kill -9 "-$call" 2>/dev/null
    : >"$hung" 2>/dev/null
    status=124
  fi
  cat "$out/out" 2>/dev/null
  rm -rf -- "$out"
  return "$status"
}}
"""
