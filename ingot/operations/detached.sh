# Starts a script in a unit of its own, so that it goes on when this connection drops. Set before: unit, the name of
# the unit. Standard input: base64 of a tar.gz holding run.sh, what run.sh reads, and `verbose` for a run with -v.
set -eu
umask 077
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
work=/run/ingot/$unit
log=/var/log/ingot/$unit.log
booted=/run/systemd/system

# A run whose connection dropped may still be at work; its result is this run's start.
waited=0
while [ -d "$booted" ] && systemctl show --value -p ActiveState "$unit.service" | grep -Evq 'inactive|failed'; do
  if [ "$waited" -ge "$patience" ]; then
    echo "an earlier run ($unit.service) is still at work after $patience s; see $log" >&2
    exit 1
  fi
  waited=$((waited + 1))
  sleep 1
done

rm -rf -- "$work"
mkdir -p -m 0755 /run/ingot "${log%/*}"
mkdir -- "$work"
base64 -d | tar -xz --no-same-owner -C "$work"
touch -- "$log"
follower=
if [ -f "$work/verbose" ]; then
  tail -n 0 -f -- "$log" &
  follower=$!
fi
status=0
if [ -d "$booted" ]; then
  systemd-run --quiet --wait --collect --unit="$unit" \
    sh "$work/run.sh" "$work" "$log" >/dev/null 2>"$work/start" </dev/null || status=$?
else
  sh "$work/run.sh" "$work" "$log" </dev/null || status=$?
fi
[ -z "$follower" ] || kill "$follower" 2>/dev/null || :
if [ "$status" -ne 0 ]; then
  if [ -s "$work/sentence" ]; then cat -- "$work/sentence" >&2; else cat -- "$work/start" >&2; fi
fi
rm -rf -- "$work"
exit "$status"
