# Starts packages.sh in a unit of its own, so that apt goes on when this connection drops.
# Standard input: base64 of a tar.gz holding run.sh (packages.sh), plan, and `verbose` for a run with -v.
set -eu
umask 077
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
unit=ingot-packages
work=/run/ingot/packages
log=/var/log/ingot/packages.log
booted=/run/systemd/system

# A run whose connection dropped may still be installing; its result is this run's start.
waited=0
while [ -d "$booted" ] && systemctl show --value -p ActiveState "$unit.service" | grep -Evq 'inactive|failed'; do
  if [ "$waited" -ge 1800 ]; then
    echo "an earlier package installation ($unit.service) still runs after 30 minutes; see $log" >&2
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
