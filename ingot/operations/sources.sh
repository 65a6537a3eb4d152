# Package sources, and what others describe of the same repositories. apt reads no source at all where two descriptions
# of one repository differ in their keys, so that ours comes in one step with the going of theirs. What theirs was is
# kept in was/ below $(cat "$work/changed")/NAME, what it became in now/: where a file is as in now/, Ingot made it so.
# Needs fail, and for adding a source what packages.sh has.

# Standard input becomes this file, whole or not at all; with a second file it gets that one's owner and mode.
write() {
  temporary=$(mktemp "${1%/*}/.ingot-$$.XXXXXXXX") || return 1
  cat >"$temporary" && chmod 0644 "$temporary" &&
    { [ -z "${2:-}" ] || { chmod --reference="$2" "$temporary" && chown --reference="$2" "$temporary"; }; } &&
    sync -- "$temporary" && mv -fT -- "$temporary" "$1" && return 0
  rm -f -- "$temporary"
  return 1
}

# A copy, a link as a link, takes the place of a file.
replace() {
  cp -a -- "$1" "${2%/*}/.ingot-replaced" && mv -fT -- "${2%/*}/.ingot-replaced" "$2" && return 0
  rm -f -- "${2%/*}/.ingot-replaced"
  return 1
}

# name, address of the key, its fingerprints (both - where the host trusts it already), base64 of the .sources file.
# Until it is proven the source is marked as pending, for the run that finds it cut off; `fail` rolls it back.
source_() {
  list=/etc/apt/sources.list.d/ingot-$1.sources
  ring=/etc/apt/keyrings/ingot-$1.gpg
  kept=$(cat "$work/changed")/$1
  home=$(mktemp -d "$work/key.XXXXXXXX")
  chmod 0700 "$home"
  : >"$home/done"
  [ ! -f "$list" ] || cp -- "$list" "$home/list"
  printf '%s' "$4" | base64 -d >"$home/new"
  of_source "$1" "$work/theirs" >"$home/theirs"
  of_source "$1" "$work/stale" >"$home/stale"
  readable || fail "package source $1 was not added, since apt would not read its sources then: $(reason)"
  mkdir -p -m 0755 "${kept%/*}"
  mkdir -p -m 0700 "$kept"
  [ ! -e "$kept/pending" ] || touch "$home/unproven"
  touch "$kept/pending" && sync -- "$kept/pending" "$kept" || fail "could not write below $kept"
  adding=$1
  # First of all: where theirs is what keeps apt from its sources, nothing can be installed before.
  switch_off "$1"
  [ "$2" = - ] || key "$1" "$2" "$3"
  write "$list" <"$home/new" || fail "could not write $list"
  if ! update_source "$list" && ! update_source "$list"; then
    # Nothing half-added stays behind to break the next apt-get update of this host.
    fail "package source $1 does not work and was not added: $(reason)"
  fi
  [ ! -s "$home/theirs" ] || everything || fail "package source $1 was not added: $(reason)"
  adding=
  rm -f -- "$kept/pending"
  rmdir -- "$kept" 2>/dev/null || :
}

# The steps that wait for a source: each without its name.
of_source() {
  [ ! -f "$2" ] || sed -n "s/^$1$tab//p" "$2"
}

# Has apt read its sources, and neither its lists nor its cache of packages, which takes a hundred times as long.
read_sources() {
  apt-get indextargets -o Dir::State::lists=/nonexistent/ -o Dir::State::status=/dev/null -o Dir::Cache::pkgcache= \
    -o Dir::Cache::srcpkgcache= "$@"
}

# Whether apt reads its sources as they will be; asks no server.
readable() {
  parts=$home/parts
  main=$home/sources.list
  mkdir "$parts"
  find /etc/apt/sources.list.d/ -maxdepth 1 '(' -name '*.list' -o -name '*.sources' ')' -exec cp -L -- {} "$parts/" ';'
  cp -- /etc/apt/sources.list "$main" 2>/dev/null || : >"$main"
  while IFS=$tab read -r path _ content; do
    case $path in /etc/apt/sources.list) to=$main ;; *) to=$parts/${path##*/} ;; esac
    printf '%s' "$content" | base64 -d >"$to"
  done <"$home/theirs"
  while read -r path; do rm -f -- "$parts/${path##*/}"; done <"$home/stale"
  cp -- "$home/new" "$parts/${list##*/}"
  read_sources -o "Dir::Etc::sourcelist=$main" -o "Dir::Etc::sourceparts=$parts" >"$work/out" 2>&1
}

# path, digest of before, base64 of what it becomes; then the descriptions of Ingot's that a new name replaces.
switch_off() {
  # Links first: what they point to may be another of these files.
  for kind in link file; do
    while IFS=$tab read -r path rest; do
      [ "$([ -L "$path" ] && echo link || echo file)" != "$kind" ] || printf '%s\t%s\n' "$path" "$rest"
    done <"$home/theirs"
  done >"$home/ordered"
  mv -- "$home/ordered" "$home/theirs"
  while IFS=$tab read -r path before content; do
    [ "$(sha256sum <"$path" | cut -c1-64)" = "$before" ] || fail "$path was changed while this ran; run it again"
    mkdir -p -- "$home/back${path%/*}" "$kept/was${path%/*}" "$kept/now${path%/*}"
    cp -a -- "$path" "$home/back$path" && echo "$path" >>"$home/done"
    if [ -L "$path" ] || ! cmp -s "$path" "$kept/now$path"; then
      rm -f -- "$kept/was$path"
      cp -a -- "$path" "$kept/was$path"
      touch "$home/fresh.$(printf '%s' "$path" | sha256sum | cut -c1-16)"
    fi
    printf '%s' "$content" | base64 -d | write "$kept/now$path" "$path" && sync -f "$kept" &&
      write "$path" "$path" <"$kept/now$path" 2>"$work/out" ||
      fail "could not change $path, which describes package source $1 otherwise ($(tail -n 1 "$work/out")); \
take that description out of it, or make it writable"
  done <"$home/theirs"
  while read -r path; do
    mkdir -p -- "$home/back${path%/*}"
    cp -a -- "$path" "$home/back$path" && rm -f -- "$path" && echo "$path" >>"$home/done"
  done <"$home/stale"
}

# All sources together, within a limit. A server that does not answer is not ours to judge: apt read what is described.
everything() {
  timeout -k 10 "$patience" apt-get -y -q -o "DPkg::Lock::Timeout=$patience" -o Acquire::Retries=0 \
    -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 update >"$work/out" 2>&1 </dev/null && return 0
  cat "$work/out"
  ! grep -Eq 'Conflicting values|could not be read|Malformed|Unable to parse' "$work/out"
}

# Takes back a source that could not be added: first ours goes, then what was comes back, so that apt reads its sources
# at each moment. Prints what could not be put back.
roll_back() {
  rm -f -- "$list"
  if [ -f "$home/old" ]; then
    write "$ring" <"$home/old"
  elif [ -e "$home/rung" ]; then
    rm -f -- "$ring"
  fi
  if [ -e "$home/unproven" ]; then
    # An earlier run was cut off before it knew whether the source works.
    [ ! -d "$kept/was" ] || touch "$home/gave"
    put_back "$kept" || echo "; what else was switched off is in $kept"
  else
    while read -r path; do
      cmp -s "$home/back$path" "$path" || replace "$home/back$path" "$path" ||
        echo "; could not put $path back, which is in $home/back"
      if [ -e "$home/fresh.$(printf '%s' "$path" | sha256sum | cut -c1-16)" ]; then
        rm -f -- "$kept/was$path" "$kept/now$path"
      elif [ -e "$kept/now$path" ]; then
        replace "$path" "$kept/now$path"
      fi
    done <"$home/done"
    rm -f -- "$kept/pending"
    [ -n "$(find "$kept" ! -type d 2>/dev/null)" ] || rm -rf -- "$kept"
  fi
  [ ! -f "$home/list" ] || [ -e "$home/gave" ] || write "$list" <"$home/list"
}

# Gives files of others back what is kept of them below $1, where they are still as Ingot left them.
put_back() {
  [ -d "$1/was" ] || { rm -rf -- "$1" && return 0; }
  (cd "$1/was" && find . '(' -type f -o -type l ')' | cut -c2-) >"$work/kept"
  status=0
  while read -r path; do
    [ ! -L "$path" ] && cmp -s "$1/now$path" "$path" || continue
    replace "$1/was$path" "$path" || status=1
  done <"$work/kept"
  [ "$status" -ne 0 ] || rm -rf -- "$1"
  return "$status"
}

# What is described elsewhere as it should be needs no description of Ingot's: file, keyring.
unsource() {
  grep -qs '^# Written by Ingot' "$1" || return 0
  rm -f -- "$1" "$2" || fail "could not delete $1"
}
