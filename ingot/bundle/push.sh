# A bundle below $1 on a host: $2 is what to do. Everything below $1/objects is a bundle's, and proven by its name.
set -u
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
base=$1
umask 022

fail() {
  echo "$1" >&2
  exit 1
}

case $2 in
  # What is there: the serial of the bundle, free bytes, and the objects.
  look)
    parent=$base
    while [ ! -d "$parent" ]; do parent=$(dirname "$parent"); done
    [ ! -d "$base" ] || [ -z "$(ls -A "$base")" ] || [ -d "$base/objects" ] ||
      fail "$base has other files than a bundle's; name another directory with --at"
    echo "serial $(cat "$base/serial" 2>/dev/null || echo 0)"
    echo "free $(df -B1 --output=avail "$parent" | tail -n 1)"
    [ ! -d "$base/objects" ] || find "$base/objects" -type f -printf '%s %f\n'
    ;;
  # Standard input is a tar of objects: each is taken where its bytes are those of its name.
  take)
    mkdir -p "$base/objects" && rm -rf "$base/incoming" && mkdir "$base/incoming" || fail "cannot write below $base"
    tar -x --no-same-owner -C "$base/incoming" || fail "what arrived was cut off; push again"
    cd "$base/incoming" || exit 1
    for object in *; do
      [ -e "$object" ] || continue
      [ "$(openssl dgst -sha256 -r <"$object" 2>/dev/null | cut -c1-64 || :)" = "$object" ] ||
        [ "$(sha256sum <"$object" | cut -c1-64)" = "$object" ] ||
        fail "the object $object arrived with other bytes; push again"
      mv -f -- "$object" "$base/objects/$object" || fail "cannot write below $base/objects"
    done
    sync -f "$base/objects"
    rmdir "$base/incoming"
    ;;
  # Standard input is the serial, then lines of a digest and a path: they become the bundle that hosts see.
  show)
    read -r serial || exit 1
    tree=$base/tree.$serial
    rm -rf "$tree" "$base/current.new" "$base/wanted.new" && mkdir "$tree" || fail "cannot write below $base"
    while read -r sha256 path; do
      case $path in */*) mkdir -p "$tree/${path%/*}" ;; esac
      ln -- "$base/objects/$sha256" "$tree/$path" || fail "the object of $path is not there; push again"
      echo "$sha256" >>"$base/wanted.new"
    done
    # apt reads as its own user.
    find "$tree" -type d -exec chmod 0755 {} + && find "$base/objects" -type f -exec chmod 0644 {} +
    ln -s "tree.$serial" "$base/current.new" && mv -fT "$base/current.new" "$base/current" &&
      echo "$serial" >"$base/serial.new" && mv -f "$base/serial.new" "$base/serial" || fail "cannot write below $base"
    find "$base" -mindepth 1 -maxdepth 1 -name 'tree.*' ! -name "tree.$serial" -exec rm -rf {} +
    sort -u "$base/wanted.new" >"$base/wanted"
    rm -f "$base/wanted.new"
    find "$base/objects" -type f -printf '%f\n' | sort | comm -23 - "$base/wanted" |
      while read -r gone; do rm -f -- "$base/objects/$gone"; done
    rm -f "$base/wanted"
    ;;
esac
