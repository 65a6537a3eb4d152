# The host's side of an acceptance, in a unit of its own: each step leaves its output in the directory of results, and a
# step whose output is there is not repeated. $1 is the directory with the members, $2 the log.
set -u
work=$1
results=/var/lib/ingot/acceptance
restore=ingot-accept-restore.service
# shellcheck disable=SC1091
. "$work/config"
umask 077
chmod 0644 "$work/burnin.py"
mkdir -p "$results"
exec >>"$2" 2>&1

burning() { systemctl show --value -p ActiveState ingot-accept-burn.service | grep -Evq 'inactive|failed'; }
# A burn-in that an earlier run started goes on by itself; what it took away comes back before anything else is done.
while burning; do sleep 1; done
if [ -e "/etc/systemd/system/$restore" ]; then systemctl start "$restore"; fi
docker ps -aq --filter label=ingot.acceptance | xargs -r docker rm --force >/dev/null 2>&1
# The file of a measurement that was cut off: where it lies others may keep files of such names, other hosts' runs too.
if [ -e "$results/disk_file" ]; then rm -f -- "$(cat "$results/disk_file")" "$results/disk_file"; fi

if [ "$again" = 1 ] || [ "$(cat "$results/key" 2>/dev/null)" != "$key" ]; then
  rm -rf "$results"
  mkdir -p "$results"
  echo "$key" >"$results/key"
fi
rm -f "$results/refused"

say() { echo "$1" >"$results/now"; }
export counter_fields newer_fields
if [ ! -e "$results/before_kernel" ]; then
  say 'reading counters'
  sh "$work/look.sh" "$results" before
fi

if [ ! -e "$results/disk" ]; then
  say 'measuring the disk'
  # Before the first deploy the cache root is not there: its nearest parent is on the same disk.
  place=$cache_root
  until [ -d "$place" ]; do place=$(dirname "$place"); done
  # Nothing of the host is kept from the disk: a quarter of what is free is the most.
  free=$(df -B1 --output=avail "$place" | tail -n 1)
  size=$((free / 4))
  [ "$size" -le "$disk_bytes" ] || size=$disk_bytes
  if ! command -v fio >/dev/null; then
    say 'installing fio'
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get -o DPkg::Lock::Timeout=120 install -y -qq \
      --no-install-recommends fio
  fi
  if [ "$size" -ge 67108864 ] && command -v fio >/dev/null; then
    file=$(mktemp -u "$place/.ingot-accept.XXXXXXXX")
    # Noted before it is made.
    echo "$file" >"$results/disk_file"
    (set -C && : >"$file") || exit 1
    half=$((disk_s / 2))
    say 'measuring the disk'
    timeout $((disk_s * 4 + 120)) fio --output-format=json --filename="$file" --size="$size" --bs=1M --direct=1 \
      --ioengine=libaio --iodepth=32 --end_fsync=1 \
      --name=write --rw=write --runtime="$half" \
      --name=read --stonewall --rw=read --runtime="$half" >"$results/.disk"
    rm -f "$file" "$results/disk_file"
    mv "$results/.disk" "$results/disk"
  fi
fi

finished() {
  grep -q "\"finished\": \"$1\", \(\"complete\": true\|\"skipped\"\)" "$results/burn_in" 2>/dev/null
}
left=
for phase in $phases; do
  finished "$phase" || left=$left,$phase
done
diagnose=0
[ -e "$results/dcgm" ] || ! command -v dcgmi >/dev/null || diagnose=1
printf 'left=%s\ndiagnose=%s\n' "${left#,}" "$diagnose" >>"$work/config"

# Nobody is drained where nothing is left to do.
if [ "$burn" = 1 ] && [ "$left$diagnose" != 0 ]; then
  say 'draining the replicas'
  cp "$work/restore.sh" "$results/restore.sh"
  # The manager itself starts what brings them back: a part of this unit could be killed with it.
  systemd-run --quiet --wait --collect --unit=ingot-accept-burn --property=RuntimeMaxSec="$longest_s" \
    --property=OnFailure="$restore" --property=OnSuccess="$restore" \
    sh "$work/burn.sh" "$work" "$results" </dev/null
  [ ! -e "/etc/systemd/system/$restore" ] || systemctl start "$restore"
elif [ "$burn" = 0 ] && ! finished host_memory && docker image inspect "$image" >/dev/null 2>&1; then
  say "measuring the host's memory"
  # shellcheck disable=SC2086 # the words of a command line
  docker run $container "$image" /burnin.py --device cpu --phases host_memory >>"$results/burn_in"
fi

say 'reading counters'
sh "$work/look.sh" "$results" after
rm -f "$results/now"
[ ! -e "$results/refused" ]
