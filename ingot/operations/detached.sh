# Starts a script in a unit of its own, so that it goes on when this connection drops. Set before: unit, its name;
# patience, the seconds that an earlier run of it is waited for; work, its directory; log, its log. Standard input:
# base64 of a tar.gz with run.sh and what run.sh reads. When run.sh has ended, its status is in $work/status.
# Where again is set, a directory on disk, a reboot does not end the work: it is begun anew at boot from what lies there,
# where `$again/guard` succeeds, until it has ended or a run has joined it.
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
run='sh "$1/run.sh" "$1" "$2"; echo $? >"$1/.status"; mv "$1/.status" "$1/status"; [ ! -e "$3/end.sh" ] || sh "$3/end.sh"'
starting=/etc/systemd/system/$unit-again.service
wants=/etc/systemd/system/multi-user.target.wants/$unit-again.service
if [ -n "${again:-}" ] && [ -d "$booted" ] && { [ ! -e "$starting" ] || grep -qs '^# Written by Ingot' "$starting"; }; then
  rm -rf -- "$again" "$again.new"
  mkdir -p -m 0700 -- "${again%/*}"
  cp -a -- "$work" "$again.new"
  cat >"$again.new/begin.sh" <<EOF
set -eu
umask 077
export LC_ALL=C.UTF-8 PATH=$PATH
# This boot has it already, or is told by the guard that the disk is not there.
[ ! -e "$work" ] || exit 0
i=0
while [ -e "$again/guard" ] && ! sh "$again/guard"; do
  [ \$i -lt 120 ] || exit 0
  i=\$((i + 1))
  sleep 1
done
mkdir -p -m 0755 "${work%/*}" "${log%/*}"
cp -a -- "$again" "$work"
touch -- "$log"
stat -c %s -- "$log" >"$work/seen"
exec systemd-run --quiet --collect --unit="$unit" sh -c '$run' sh "$work" "$log" "$again"
EOF
  printf 'rm -f -- "%s" "%s"\nrm -rf -- "%s"\n' "$wants" "$starting" "$again" >"$again.new/end.sh"
  sync
  mv -T -- "$again.new" "$again"
  mkdir -p -m 0755 -- "${wants%/*}"
  (umask 022 && cat >"$starting.new" <<EOF
# Written by Ingot: begins $unit.service again after a reboot; it goes when that has ended or a deploy has joined it.
[Unit]
Description=Ingot: begin $unit again
Wants=network-online.target
After=network-online.target local-fs.target remote-fs.target

[Service]
Type=oneshot
ExecStart=/bin/sh $again/begin.sh
EOF
  )
  mv -T -- "$starting.new" "$starting"
  ln -sfn -- "$starting" "$wants"
  sync
else
  again=
fi
if [ -d "$booted" ]; then
  systemd-run --quiet --collect --unit="$unit" sh -c "$run" sh "$work" "$log" "$again" </dev/null || {
    [ -z "$again" ] || sh "$again/end.sh"
    exit 1
  }
else
  sh -c "$run" sh "$work" "$log" "$again" </dev/null
fi
