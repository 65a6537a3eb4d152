# Puts a set of directories, files and links in place. Standard input: base64 of a tar.gz holding
#   plan      one tab-separated line per step (see tree.py)
#   validate  a command to run over the staged set, where the caller gave one
#   root/     the new files under their full paths
# Contents never appear in an argument; nothing is readable by others before it has its final owner and mode.
set -eu
umask 077
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
tab=$(printf '\t')
stage=
host='this host'

fail() {
  printf '%s: %s\n' "$host" "$1" >&2
  exit 1
}

clean() {
  [ -n "$stage" ] || return 0
  # A step that failed leaves no temporary file beside the targets.
  if [ -f "$stage/moves" ]; then
    while IFS="$tab" read -r temporary path; do rm -f -- "$temporary"; done <"$stage/moves"
  fi
  rm -rf -- "$stage"
}
trap clean EXIT
trap 'exit 1' HUP INT TERM

mkdir -p -m 0755 /run/ingot
# What runs left that were cut off goes; another run that is at work now keeps its own.
for old in /run/ingot/stage.*; do
  owner=${old#*/stage.}
  [ -d "/proc/${owner%%.*}" ] || rm -rf -- "$old"
done
stage=$(mktemp -d "/run/ingot/stage.$$.XXXXXXXX")
base64 -d | tar -xz --no-same-owner -C "$stage" || fail 'the new files did not arrive whole; nothing was changed'

host=$(sed -n "s/^host$tab//p" "$stage/plan")
if [ -f "$stage/validate" ]; then
  if ! said=$(cd / && sh -c "$(sed "s|{stage}|$stage/root|g" "$stage/validate")" 2>&1 </dev/null); then
    fail "refused by \`$(cat "$stage/validate")\`: $(printf '%s' "$said" | tr '\n' ' '); nothing was changed"
  fi
fi

parent() {
  [ -d "${1%/*}/" ] || (umask 022 && mkdir -p -- "${1%/*}")
}

# First everything that can fail for want of space, owners or parents; then only renames.
: >"$stage/moves"
while IFS="$tab" read -r step path user group mode; do
  case $step in
    sweep) rm -rf -- "$path" ;;
    dir)
      parent "$path"
      [ -d "$path" ] || mkdir -- "$path"
      chown -- "$user:$group" "$path"
      chmod -- "$mode" "$path"
      ;;
    file)
      parent "$path"
      temporary=$(mktemp "${path%/*}/.ingot-$$.XXXXXXXX")
      printf '%s\t%s\n' "$temporary" "$path" >>"$stage/moves"
      said=$({ cat -- "$stage/root$path" >"$temporary" && chown -- "$user:$group" "$temporary" &&
        chmod -- "$mode" "$temporary" && sync -- "$temporary"; } 2>&1) ||
        fail "could not write $path ($said); no file was changed"
      ;;
    link)
      parent "$path"
      temporary=$(mktemp -u "${path%/*}/.ingot-$$.XXXXXXXX")
      printf '%s\t%s\n' "$temporary" "$path" >>"$stage/moves"
      ln -s -- "$user" "$temporary"
      ;;
  esac
done <"$stage/plan"

while IFS="$tab" read -r temporary path; do
  mv -fT -- "$temporary" "$path"
done <"$stage/moves"

while IFS="$tab" read -r step path user group mode; do
  case $step in
    own)
      chown -h -- "$user:$group" "$path"
      chmod -- "$mode" "$path"
      ;;
    absent) rm -rf -- "$path" ;;
  esac
done <"$stage/plan"

# The renames themselves survive a power loss once their directories are on disk.
sed 1d "$stage/plan" | cut -f2 | while read -r path; do
  [ ! -d "${path%/*}/" ] || printf '%s\0' "${path%/*}/"
done | sort -zu | xargs -0r sync --
