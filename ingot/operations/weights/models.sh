# Fetches the files of one model directory, verifies each, and publishes the directory by one rename.
# $1/plan, tab separated: `host NAME`, `root DIRECTORY`, `target DIRECTORY`, then per file
#   file PATH BYTES SHA256|- GIT_SHA1|- TRUSTED(yes|no) ADDRESS
# TRUSTED files were verified before and have kept size and time. $1/curl holds options with secrets, if any.
set -u
umask 022
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
work=$1
log=$2
exec >>"$log" 2>&1
tab=$(printf '\t')

fail() {
  printf '%s: %s; see %s there\n' "$host" "$1" "$log" >"$work/sentence"
  echo "$1"
  exit 1
}

value() {
  sed -n "s/^$1$tab//p" "$work/plan"
}

host=$(value host)
root=$(value root)
target=$(value target)
marker=.ingot-verified.json
made=.ingot-made
quarantine=$root/.quarantine
touch "$work/curl"
trap 'rm -f "$work/curl"' EXIT
echo "== $(date -u +%FT%TZ) $target"

# A directory of Ingot's own: the proof lies in it before anything else, and names what it was made as, for a copy of the
# directory is somebody else's.
own() {
  [ -d "$1" ] || mkdir -p -- "$1" || return 1
  [ -n "$(ls -A "$1")" ] || printf '%s\n' "$2" >"$1/$made"
}

is_own() {
  [ -f "$1/$made" ] && [ "$(cat "$1/$made")" = "$2" ]
}

# A file of Ingot's own that fails its digest is kept where nothing mounts it; the last one of its name.
quarantine() {
  own "$quarantine" "$quarantine" && chmod 0700 "$quarantine"
  is_own "$quarantine" "$quarantine" || { set_aside "$1" "$2" && return; }
  mv -fT -- "$1" "$quarantine/$(aside "$1")"
  echo "quarantined: $1 ($2)"
}

# What others put where a model belongs leaves the way, and is never deleted.
set_aside() {
  mkdir -p -m 0700 "$root/.set-aside"
  mv -T --backup=numbered -- "$1" "$root/.set-aside/$(aside "$1")"
  echo "set aside: $1 ($2)"
}

aside() {
  printf '%s' "${1#"$root"/}" | tr / _
}

# Whether the file has the digest of the manifest; leaves its sha256 in $sum.
good() {
  sum=$(sha256sum <"$1" | cut -c1-64)
  if [ "$2" != - ]; then
    [ "$sum" = "$2" ] || { found="sha256 $sum" expected=$2 && return 1; }
  else
    id=$({ printf 'blob %s\0' "$(stat -c %s "$1")" && cat -- "$1"; } | sha1sum | cut -c1-40)
    [ "$id" = "$3" ] || { found="git id $id" expected=$3 && return 1; }
  fi
}

size() {
  stat -c %s -- "$1" 2>/dev/null || echo 0
}

# Resumes where an earlier attempt or run stopped.
fetch() {
  case $3 in
    move:*)
      mv -fT -- "${3#move:}" "$1" || fail "the pushed file ${3#move:} is gone; run again"
      return
      ;;
  esac
  attempt=0
  while [ "$(size "$1")" -ne "$2" ]; do
    [ "$(size "$1")" -le "$2" ] || rm -f -- "$1"
    [ "$attempt" -lt 6 ] || fail "could not fetch $3: $(tail -n 1 "$work/error")"
    [ "$attempt" -eq 0 ] || sleep $((attempt * 3))
    before=$(size "$1")
    curl -fsSL -C - --config "$work/curl" --connect-timeout 15 --speed-limit 1000 --speed-time 60 \
      -o "$1" -- "$3" 2>"$work/error"
    status=$?
    after=$(size "$1")
    case $status in
      0) [ "$after" -eq "$2" ] || echo "curl: the server ended $3 at $after of $2 bytes" >"$work/error" ;;
      # A server that cannot resume: from the beginning.
      33 | 36) rm -f -- "$1" ;;
      22) ! grep -Eq 'error: 4(0[0134]|10)' "$work/error" || attempt=6 ;;
    esac
    [ "$after" -gt "$before" ] && [ "$attempt" -lt 6 ] && attempt=0
    attempt=$((attempt + 1))
  done
}

dir=$target
[ -d "$target" ] && [ ! -L "$target" ] || dir=$target.incomplete
[ "$dir" = "$target" ] || own "$dir" "$target" || fail "could not make $dir"
ours=no
! is_own "$dir" "$target" || ours=yes
# A repair that is cut off must not look verified.
rm -f -- "$dir/$marker"

# Another's half of a file is not gone on with.
find "$dir" -mindepth 1 ! -type d ! -name "$made" ! -name .marker -printf '%P\n' | while read -r path; do
  awk -F'\t' -v p="$path" -v ours="$ours" '$1 == "file" && ($2 == p || (ours == "yes" && $2 ".part" == p)) { found = 1 }
    END { exit !found }' "$work/plan" || set_aside "$dir/$path" 'not in the manifest'
done

: >"$work/files"
grep "^file$tab" "$work/plan" >"$work/list"
while IFS="$tab" read -r _ path bytes sha git trusted url; do
  file=$dir/$path
  part=$file.part
  [ ! -L "$file" ] || set_aside "$file" 'a link'
  mkdir -p -- "${file%/*}"
  if [ -f "$file" ] && [ "$trusted" = yes ]; then
    sum=$sha
  elif [ -f "$file" ] && [ "$(size "$file")" -eq "$bytes" ] && good "$file" "$sha" "$git"; then
    echo "kept: $path"
  else
    if [ -f "$file" ] && [ "$ours" = yes ]; then
      quarantine "$file" 'not as the manifest says'
    elif [ -e "$file" ]; then
      set_aside "$file" 'not as the manifest says'
    fi
    fetch "$part" "$bytes" "$url"
    if ! good "$part" "$sha" "$git"; then
      quarantine "$part" "$found, expected $expected"
      case $url in move:*) fail "the pushed file $path has $found, expected $expected; compare it with its manifest" ;; esac
      fetch "$part" "$bytes" "$url"
      good "$part" "$sha" "$git" || {
        quarantine "$part" "$found, expected $expected"
        fail "$url has $found, expected $expected, twice; the manifest or the source is wrong"
      }
    fi
    # Pushed files arrive as the user who logs in; only root may write what the engine loads.
    chown "$(id -u):$(id -g)" "$part" && chmod 0644 "$part" && sync -- "$part" && mv -fT -- "$part" "$file" || fail "could not write $file"
    echo "fetched: $path ($bytes bytes)"
  fi
  printf '%s{"path": "%s", "bytes": %s, "sha256": "%s", "mtime": "%s"}' "$([ -s "$work/files" ] && printf ,)" \
    "$path" "$bytes" "$sum" "$(find "$file" -printf '%T@')" >>"$work/files"
done <"$work/list"

printf '{"verified_at": "%s", "files": [\n%s\n]}\n' "$(date -u +%FT%TZ)" "$(cat "$work/files")" >"$dir/.marker" &&
  sync -- "$dir/.marker" && mv -fT -- "$dir/.marker" "$dir/$marker" || fail "could not write $dir/$marker"
find "$dir" -type d -exec chmod 0755 {} + -exec sync {} +
if [ "$dir" != "$target" ]; then
  mv -T -- "$dir" "$target" || fail "could not publish $target"
fi
! is_own "$target.incoming" "$target" || rm -rf -- "$target.incoming"
sync -- "${target%/*}"
