# Formats, where $1/plan says so, and mounts the disk for models, now and at each boot. $1/plan has a name and a value a
# line; $1/occupied.sh tells an empty disk, $1/half_made lists what one may be called of which the formatting was cut off.
set -u
umask 022
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
work=$1
log=$2
exec >>"$log" 2>&1
tab=$(printf '\t')

value() {
  sed -n "s/^$1$tab//p" "$work/plan"
}

host=$(value host)
disk=$(value disk)
mount=$(value mount)
uuid=$(value uuid)
begun=$(value begun)
fstab=$(value fstab)
label=$(value label)

fail() {
  printf '%s: %s; see %s there\n' "$host" "$1" "$log" >"$work/sentence"
  echo "$1"
  exit 1
}

step() {
  echo "$1" | tee "$work/step"
}

. "$work/occupied.sh"
device=$(readlink -f -- "$disk") && [ -b "$device" ] || fail "cache_disk $disk is not there any more; nothing was changed"
echo "== $(date -u +%FT%TZ) $disk ($device) at $mount"

# In the moment before it is done, what was seen is seen again: a disk may have been taken since.
if [ "$(value formats)" = yes ]; then
  why=$(occupied "$device")
  was=$(awk -v disk="$disk" '$1 == disk { print $2 }' "$begun" 2>/dev/null)
  if [ -n "$why" ]; then
    there=$(blkid -p -o value -s UUID -- "$device")
    [ -n "$was" ] && grep -qxF -- "$why" "$work/half_made" && { [ -z "$there" ] || [ "$there" = "$was" ]; } ||
      fail "cache_disk $disk ($device) $why by now, expected an empty disk; nothing was changed"
  fi
  # What it is to become is written down first: a run that is cut off after this knows that it was empty.
  mkdir -p -m 0755 "${begun%/*}"
  [ -n "$was" ] && uuid=$was || {
    echo "$disk $uuid" >"$begun.new" && sync -- "$begun.new" && mv -fT -- "$begun.new" "$begun" && sync -- "${begun%/*}"
  } || fail "could not write $begun; nothing was changed"
  step "formatting $disk"
  mkfs.ext4 -q -F -m 0 -L "$label" -U "$uuid" -- "$device" && sync -- "$device" ||
    fail "mkfs.ext4 failed on $disk; look at the disk (\`dmesg\`), then run again"
  [ "$(blkid -p -o value -s UUID -- "$device")" = "$uuid" ] || fail "$disk does not hold what was written to it"
  rm -f -- "$begun"
fi

mkdir -p -- "$mount"
mountpoint -q "$mount" || [ -z "$(ls -A "$mount")" ] || fail "$mount holds files, which $disk would hide; move them away"
if ! awk -v disk="UUID=$uuid" -v at="$mount" '$1 == disk && $2 == at { found = 1 } END { exit !found }' "$fstab"; then
  step "writing $fstab"
  # nofail: a host whose disk has died boots, answers SSH and says so; a deploy refuses it while nothing is mounted here.
  {
    # A last line without an end gets one.
    [ ! -s "$fstab" ] || sed '$a\' "$fstab"
    echo '# Written by Ingot: the disk for models.'
    echo "UUID=$uuid $mount ext4 noatime,nofail,x-systemd.device-timeout=30s 0 2"
  } >"$fstab.ingot" && { chmod --reference="$fstab" "$fstab.ingot" 2>/dev/null || chmod 0644 "$fstab.ingot"; } &&
    sync -- "$fstab.ingot" && mv -fT -- "$fstab.ingot" "$fstab" && sync -- "${fstab%/*}" || fail "could not write $fstab"
  [ ! -d /run/systemd/system ] || systemctl daemon-reload
fi
if ! mountpoint -q "$mount"; then
  step "mounting $disk"
  said=$(mount -t ext4 -o noatime -- "$device" "$mount" 2>&1) || fail "$disk could not be mounted at $mount ($said)"
fi
