# Holds a host for one run, for as long as the run's connection lives: bash, as root. Standard input:
#   WAIT            seconds to wait while another run holds the host
#   {RUN}           this run, one line of JSON without secrets
#   look GZIP       the questions of this run in base64, for the next run's look
#   beat            again and again, while the run goes on
#   end {RECORD}    the last line of its audit; then, or when the input ends, the host is free
# It prints one line at a time: held AGE {RUN}, refused AGE {RUN}, work UNIT, working UNIT, last {RECORD}, schema {FILE}, ready, broken BY.
set -u
umask 022
export LC_ALL=C PATH=${INGOT_PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
dir=${INGOT_RUN:-/run/ingot} log=${INGOT_LOG:-/var/log/ingot}/changes.jsonl state=${INGOT_STATE:-/var/lib/ingot}
# A run that says nothing for so long is gone, seconds; how large the audit grows, bytes, and how many of them are kept.
silence=${INGOT_SILENCE:-90} size=1048576 keep=5

IFS= read -r wait && IFS= read -r run || exit 1
case $wait in '' | *[!0-9]*) exit 1 ;; esac

# How long ago the run that holds the host was heard of, and what it is.
who() {
  seen=$(stat -c %Y "$dir/lock.json" 2>/dev/null || date +%s)
  echo "$(($(date +%s) - seen)) $(cat "$dir/lock.json" 2>/dev/null || echo '{}')"
}

append() {
  printf '%s\n' "$1" >>"$log" && sync "$log" 2>/dev/null
}

mkdir -p -m 0755 "$dir"
exec 9>>"$dir/lock"
chmod 0600 "$dir/lock"
if ! flock -n 9; then
  echo "held $(who)"
  if [ "$wait" = 0 ] || ! flock -w "$wait" 9; then
    echo "refused $(who)"
    exit 75
  fi
fi

# An acceptance or a removal goes on without its run's connection. Only its like joins it; others would work against it.
purpose=$(printf '%s' "$run" | sed -n 's/.*"purpose": "\([a-z]*\)".*/\1/p')
at_work() {
  for unit in accept:ingot-accept decommission:ingot-decommission; do
    name=${unit#*:}
    [ "${unit%:*}" != "$purpose" ] && [ -e "$dir/$name/run.sh" ] && [ ! -e "$dir/$name/status" ] &&
      systemctl is-active -q "$name.service" && echo "$name" && return 0
  done
  return 1
}
deadline=$(($(date +%s) + wait))
if name=$(at_work); then
  echo "work $name"
  while name=$(at_work); do
    if [ "$(date +%s)" -ge "$deadline" ]; then
      echo "working $name"
      exit 75
    fi
    sleep 1
  done
fi

mkdir -p -m 0755 "${log%/*}"
last=$(tail -n 1 "$log" 2>/dev/null)
id=$(printf '%s' "$last" | sed -n 's/^{"event": "begin", "boot": "\([^"]*\)", "run": {"id": "\([0-9a-f]*\)".*/\2 \1/p')
boot=$(cat /proc/sys/kernel/random/boot_id)
if [ -n "$id" ]; then
  # The lock is free, and nobody wrote the end of the run that had it.
  why='its connection and its lock ended without a word'
  [ "${id#* }" = "$boot" ] || why='the host was booted again'
  last=$(printf '{"event": "end", "run": "%s", "at": "%s", "result": "cut off", "why": "%s"}' \
    "${id% *}" "$(date -u +%FT%T+00:00)" "$why")
  append "$last"
fi
if [ "$(stat -c %s "$log" 2>/dev/null || echo 0)" -gt "$size" ]; then
  for n in $(seq $((keep - 1)) -1 1); do [ ! -e "$log.$n" ] || mv -f "$log.$n" "$log.$((n + 1))"; done
  mv -f "$log" "$log.1"
fi
own=$(printf '%s' "$run" | sed -n 's/^{"id": "\([0-9a-f]*\)".*/\1/p')
append "{\"event\": \"begin\", \"boot\": \"$boot\", \"run\": $run}" || { echo 'full'; exit 1; }
chmod 0640 "$log"
finish() {
  # Whoever takes Ingot off a host takes its log too, and it does not come back.
  [ ! -d "${log%/*}" ] || append "$1"
  rm -f "$dir/lock.json" "$dir/lock.pid" "$dir/lock.broken"
}
cut_off() {
  finish "$(printf '{"event": "end", "run": "%s", "at": "%s", "result": "cut off", "why": "%s"}' \
    "$own" "$(date -u +%FT%T+00:00)" "$1")"
}
broken() {
  by=$(head -c 200 "$dir/lock.broken" 2>/dev/null | tr -cd 'A-Za-z0-9@._ -')
  cut_off "its lock was broken by ${by:-somebody on the host}"
  echo "broken ${by:-somebody on the host}"
  exit 0
}
trap broken TERM
trap '' HUP INT PIPE

printf '%s\n' "$run" >"$dir/lock.json"
echo $$ >"$dir/lock.pid"
echo "last ${last:-{\}}"
echo "schema $(cat "$state/schema.json" 2>/dev/null | tr -d '\n')"
echo ready

while :; do
  IFS= read -r -t "$silence" line
  status=$?
  if [ $status -gt 128 ]; then
    cut_off "nothing was heard of it for $silence s"
    echo silent
    exit 0
  fi
  if [ $status -ne 0 ]; then
    cut_off 'its connection ended'
    exit 0
  fi
  case $line in
    beat) [ ! -e "$dir/lock.json" ] || touch "$dir/lock.json" ;;
    look\ *)
      # A file that is cut off, or a disk that is full, leaves what was there.
      [ ! -d "$state" ] || { printf '%s' "${line#look }" | base64 -d | (umask 077 && gzip -dc >"$state/look.sh.new") &&
        mv -fT "$state/look.sh.new" "$state/look.sh"; } 2>/dev/null || rm -f "$state/look.sh.new"
      ;;
    end\ *)
      finish "${line#end }"
      exit 0
      ;;
  esac
done
