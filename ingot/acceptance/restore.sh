# Brings back what the burn-in took away, whatever became of it: replicas first, then their marks in the gateway's pool.
# $1 is the directory of results; nothing is done where nothing was taken. Does not touch what a deploy changed since.
set -u
results=$1
docker ps -aq --filter label=ingot.acceptance | xargs -r docker rm --force >/dev/null 2>&1
[ -e "$results/stopped" ] || exit 0
names=$(cat "$results/stopped")
group=/etc/ingot/engine/group.json supervisor=ingot-engine.service state=/var/lib/ingot/engine/group.json
if [ "$names" = "$supervisor" ]; then
  # What it said before it stopped is of then.
  systemctl is-active -q "$supervisor" || rm -f "$state"
  systemctl start "$supervisor"
elif [ -n "$names" ]; then
  # shellcheck disable=SC2086 # several names
  docker start $names >/dev/null 2>&1 || true
fi

healthy() {
  if [ "$1" = "$supervisor" ]; then
    # A host that has left its group since waits for nobody.
    [ ! -e "$group" ] || grep -qs '"answered": true' "$state"
    return
  fi
  every='{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}'
  # One that a deploy has removed since is waited for no longer.
  address=$(docker inspect --format "$every" "$1" 2>/dev/null) || return 0
  port=$(docker inspect --format '{{index .Config.Labels "ingot.port"}}' "$1")
  path=$(docker inspect --format '{{index .Config.Labels "ingot.health"}}' "$1")
  # Without Ingot's labels there is nothing to ask: that it runs is all that can be known.
  [ -n "$address" ] && [ -n "$port" ] || return 0
  curl --silent --fail --noproxy '*' --max-time 5 --output /dev/null "http://$address:$port$path"
}
waited=0
for name in $names; do
  until healthy "$name" || [ "$waited" -ge 1800 ]; do
    sleep 1
    waited=$((waited + 1))
  done
done

# Callers come back when the replicas answer; a pool that somebody else has written meanwhile is theirs.
for kept in "$results"/pool/*.before; do
  [ -e "$kept" ] || continue
  path=$(cat "${kept%.before}.path")
  if cmp -s "$path" "${kept%.before}.drained"; then
    cp -p "$kept" "$path.ingot-accept" && mv -T "$path.ingot-accept" "$path"
  fi
done
if [ -e "$results/pool" ] && systemctl is-active -q nginx; then
  nginx -t -q 2>/dev/null && systemctl reload nginx
fi
rm -rf "$results/pool"
rm -f "$results/stopped"
systemctl disable --quiet ingot-accept-restore.service 2>/dev/null
rm -f /etc/systemd/system/ingot-accept-restore.service
