# Formats, where $1/plan says so, and mounts the disk for models, now and at each boot; several, with commas between, are
# one file system. $1/plan has a name and a value a line; $1/occupied.sh tells an empty disk, $1/half_made lists what one
# may be called of which the formatting was cut off.
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
disks=$(value disks)
images=$(value images)
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

# Whether $fstab mounts $1 at $2.
noted() {
  awk -v disk="$1" -v at="$2" '$1 == disk && $2 == at { found = 1 } END { exit !found }' "$fstab"
}

# Writes a line to $fstab; $2 says what it is for.
note() {
  step "writing $fstab"
  {
    # A last line without an end gets one.
    [ ! -s "$fstab" ] || sed '$a\' "$fstab"
    echo "# Written by Ingot: $2."
    echo "$1"
  } >"$fstab.ingot" && { chmod --reference="$fstab" "$fstab.ingot" 2>/dev/null || chmod 0644 "$fstab.ingot"; } &&
    sync -- "$fstab.ingot" && mv -fT -- "$fstab.ingot" "$fstab" && sync -- "${fstab%/*}" || fail "could not write $fstab"
  [ ! -d /run/systemd/system ] || systemctl daemon-reload
}

# The file system of $disks, at $mount.
disk_for_models() {
  . "$work/occupied.sh"
  # Names of disks hold no blanks.
  # shellcheck disable=SC2046
  set -- $(echo "$disks" | tr , ' ')
  several=$(($# > 1))
  type=ext4 options=noatime
  [ "$several" = 0 ] || type=btrfs
  devices=
  for disk; do
    device=$(readlink -f -- "$disk") && [ -b "$device" ] || fail "cache_disk $disk is not there any more; nothing was changed"
    devices="$devices $device"
    # Whoever mounts it need not have seen all of them before.
    [ "$several" = 0 ] || options=$options,device=$disk
  done
  echo "== $(date -u +%FT%TZ) $disks ($devices ) at $mount"

  # In the moment before it is done, what was seen is seen again: a disk may have been taken since.
  if [ "$(value formats)" = yes ]; then
    [ "$several" = 0 ] || modprobe btrfs 2>/dev/null || grep -qw btrfs /proc/filesystems ||
      fail "the kernel has no btrfs, which several disks become, expected its module; name one disk, or take the distribution's kernel; nothing was changed"
    was=$(awk -v disk="$disks" '$1 == disk { print $2 }' "$begun" 2>/dev/null)
    for disk; do
      device=$(readlink -f -- "$disk")
      why=$(occupied "$device")
      [ -n "$why" ] || continue
      there=$(blkid -p -o value -s UUID -- "$device")
      [ -n "$was" ] && grep -qxF -- "$why" "$work/half_made" && { [ -z "$there" ] || [ "$there" = "$was" ]; } ||
        fail "cache_disk $disk ($device) $why by now, expected an empty disk; nothing was changed"
    done
    # What it is to become is written down first: a run that is cut off after this knows that it was empty.
    mkdir -p -m 0755 "${begun%/*}"
    [ -n "$was" ] && uuid=$was || {
      echo "$disks $uuid" >"$begun.new" && sync -- "$begun.new" && mv -fT -- "$begun.new" "$begun" && sync -- "${begun%/*}"
    } || fail "could not write $begun; nothing was changed"
    step "formatting $disks"
    if [ "$several" = 0 ]; then
      mkfs.ext4 -q -F -m 0 -L "$label" -U "$uuid" -- $devices
    else
      # Half of an earlier try has the same UUID, which no two file systems may have.
      wipefs -q -a -- $devices && mkfs.btrfs -q -f -d raid0 -m raid1 -L "$label" -U "$uuid" -- $devices
    fi && sync -- $devices || fail "mkfs.$type failed on $disks; look at the disk (\`dmesg\`), then run again"
    for device in $devices; do
      [ "$(blkid -p -o value -s UUID -- "$device")" = "$uuid" ] || fail "$device does not hold what was written to it"
    done
    rm -f -- "$begun"
  fi
  disk=$1
  device=$(readlink -f -- "$disk")

  mkdir -p -- "$mount"
  mountpoint -q "$mount" || [ -z "$(ls -A "$mount")" ] || fail "$mount holds files, which $disks would hide; move them away"
  # nofail: a host whose disk has died boots, answers SSH and says so; a deploy refuses it while nothing is mounted here.
  noted "UUID=$uuid" "$mount" ||
    note "UUID=$uuid $mount $type $options,nofail,x-systemd.device-timeout=30s 0 $((several ? 0 : 2))" 'the disk for models'
  if ! mountpoint -q "$mount"; then
    step "mounting $disks"
    said=$(mount -t "$type" -o "$options" -- "$device" "$mount" 2>&1) || fail "$disks could not be mounted at $mount ($said)"
  fi
}

[ -z "$disks" ] || disk_for_models
for path in $images; do
  at=$mount/${path##*/}
  mountpoint -q "$mount" || fail "$mount is not mounted, expected it to be, since cache_images is set; mount it"
  mountpoint -q "$path" || [ -z "$(ls -A "$path" 2>/dev/null)" ] ||
    fail "$path holds files, which $at would hide; move them away"
  mkdir -p -m 0711 -- "$at" "$path" || fail "could not make $at"
  # Neither starts while its directory is not there: what it would write then fills the root disk.
  unit=${path##*/}.service
  noted "$at" "$path" ||
    note "$at $path none bind,nofail,x-systemd.required-by=$unit,x-systemd.before=$unit 0 0" 'images beside models'
  mountpoint -q "$path" || { step "mounting $path" && mount --bind -- "$at" "$path"; } ||
    fail "$at could not be mounted at $path"
done
