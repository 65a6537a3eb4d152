# Why a disk is not an empty one, in a few words; nothing where it is. What has no signature may still hold data: its
# ends and 64 places between them are read.
occupied() {
  kind=$(lsblk -dnro TYPE -- "$1") || { echo 'cannot be read'; return; }
  case $kind in
    disk | loop | raid*) ;;
    *) echo "is no whole disk ($kind)" && return ;;
  esac
  [ "$(lsblk -dnro RO -- "$1")" = 0 ] || { echo 'is read-only' && return; }
  inside=$(lsblk -nro NAME -- "$1" | sed 1d | paste -sd ' ')
  [ -z "$inside" ] || { echo "is divided or held ($inside)" && return; }
  at=$(findmnt -nro TARGET -S "$1" | paste -sd ' ')
  [ -z "$at" ] || { echo "is mounted at $at" && return; }
  ! swapon --show=NAME --noheadings --raw 2>/dev/null | grep -qxF -- "$1" || { echo 'is swap space' && return; }
  # Both look: each knows signatures that the other does not.
  signature=$({ wipefs -n --noheadings -O TYPE -- "$1"; blkid -p -o value -s TYPE -s PTTYPE -- "$1"; } | sort -u | paste -sd ' ')
  [ -z "$signature" ] || { echo "has a signature ($signature)" && return; }
  mib=$(($(lsblk -bdnro SIZE -- "$1") / 1048576))
  [ "$mib" -ge 64 ] || { echo 'is smaller than 64 MiB' && return; }
  written=$({
    seq 0 63 | while read -r part; do dd if="$1" bs=1M skip=$((part * mib / 64)) count=1 status=none; done
    dd if="$1" bs=1M skip=$((mib - 1)) status=none
  } | tr -d '\0' | head -c 1 | wc -c)
  [ "$written" = 0 ] || echo 'holds data'
}
