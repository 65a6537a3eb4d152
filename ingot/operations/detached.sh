# Starts a script in a unit of its own, so that it goes on when this connection drops. Set before: unit, its name;
# patience, the seconds that an earlier run of it is waited for; work, its directory; log, its log. Standard input:
# base64 of a tar.gz with run.sh and what run.sh reads. When run.sh has ended, its status is in $work/status.
set -eu
umask 077
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
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
mkdir -p -m 0755 "${work%/*}" "${log%/*}"
mkdir -- "$work"
base64 -d | tar -xz --no-same-owner -C "$work"
touch -- "$log"
stat -c %s -- "$log" >"$work/seen"
# The status appears whole, and only when everything else is written.
# shellcheck disable=SC2016
run='sh "$1/run.sh" "$1" "$2"; echo $? >"$1/.status"; mv "$1/.status" "$1/status"'
if [ -d "$booted" ]; then
  systemd-run --quiet --collect --unit="$unit" sh -c "$run" sh "$work" "$log" </dev/null
else
  sh -c "$run" sh "$work" "$log" </dev/null
fi
