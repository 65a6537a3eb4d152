# Stops the engine's replicas, each within its grace period. They stay down until the engine role, or the next boot,
# starts what does not run.

drain() {
  # Kept once: a transaction that goes on finds a pool that is drained already.
  [ ! -s "$work/pool" ] || [ -e "$before/pool" ] || cp -- "$work/pool" "$before/pool"
  [ -e "$compose" ] && command -v docker >/dev/null || return 0
  [ -n "$(docker ps --quiet --filter label=com.docker.compose.project=ingot-engine)" ] || return 0
  echo drained >>"$state"
  systemctl stop ingot-engine.service 2>/dev/null
  docker compose --file "$compose" stop && return 0
  echo "the engine's replicas could not be stopped; see $log there" >"$work/sentence"
  return 1
}

# Starts what `drain` stopped, and gives the replicas back their place in the gateway's pool.
undrain() {
  if grep -qx drained "$state"; then
    systemctl start ingot-engine.service || docker compose --file "$compose" up --detach --no-build --pull never
  fi
  [ ! -e "$before/pool" ] || sh "$before/pool"
}
