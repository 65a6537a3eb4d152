# Follows the plan in $1/plan, through the proxy that $1/proxy sets where it is there; the reason of a failure goes to $1/sentence, everything apt prints to the log $2.
# No globbing: a version such as 580.* is apt's to match.
set -uf
umask 022
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l APT_LISTCHANGES_FRONTEND=none UCF_FORCE_CONFFOLD=1
work=$1
log=$2
exec >>"$log" 2>&1
tab=$(printf '\t')
host='this host'
patience=300
options=--no-install-recommends
removable=-
updated=
pausing=
# apt runs this when everything is downloaded, before dpkg changes the first package.
[ ! -e "$work/pause" ] || pausing="DPkg::Pre-Invoke::=sh $work/pause"
# The package source that is half added.
adding=

fail() {
  why=$1
  if [ -n "$adding" ]; then
    adding=
    why=$why$(roll_back)
  fi
  printf '%s: %s; see %s there\n' "$host" "$why" "$log" >"$work/sentence"
  echo "$why"
  [ ! -e "$work/resume" ] || sh "$work/resume"
  exit 1
}

# The line that names the cause; dpkg's own is better than apt's summary of it.
reason() {
  grep -m1 -A1 '^dpkg: error' "$work/out" | tr -s '\n ' ' ' | grep . || grep -m1 '^E: ' "$work/out" ||
    tail -n 1 "$work/out"
}

# Runs a command again while another process holds one of apt's or dpkg's locks.
patiently() {
  until=$(($(date +%s) + patience))
  while :; do
    "$@" >"$work/out" 2>&1 </dev/null
    status=$?
    cat "$work/out"
    [ "$status" -ne 0 ] || return 0
    grep -Eqi 'could not get lock|unable to (acquire|lock)|lock was locked|is another process using it' \
      "$work/out" || return "$status"
    [ "$(date +%s)" -lt "$until" ] || return "$status"
    sleep 2
  done
}

apt() {
  patiently apt-get -y -q -o "DPkg::Lock::Timeout=$patience" -o Acquire::Retries=3 \
    -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30 -o Dpkg::Use-Pty=0 \
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold ${pausing:+-o "$pausing"} "$@"
}

update() {
  updated=yes
  # A mirror in the middle of a sync answers with sums that do not match: once more, then give up.
  apt update || apt update || fail "apt-get update failed: $(reason)"
}

# Reads the files of one package source only: other sources' troubles are not ours, and it is quick.
update_source() {
  apt update -o "Dir::Etc::sourcelist=$1" -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0 \
    -o APT::Update::Error-Mode=any
}

tools() {
  missing=
  command -v gpg >/dev/null || missing=gpg
  case $1 in http*) command -v curl >/dev/null || missing="$missing curl ca-certificates" ;; esac
  [ -z "$missing" ] || installing $missing
}

put() {
  write "$1" || fail "could not write $1"
}

# name, address of the key, its fingerprints
key() {
  tools "$2"
  case $2 in
    file://*) cp -- "${2#file://}" "$home/key" 2>"$work/out" ;;
    file:*) cp -- "${2#file:}" "$home/key" 2>"$work/out" ;;
    *) curl -fsSL --retry 3 --connect-timeout 15 --max-time 120 -o "$home/key" "$2" 2>"$work/out" ;;
  esac || fail "the key of package source $1 could not be fetched from $2: $(tail -n 1 "$work/out")"
  found=$(gpg --homedir "$home" --batch --with-colons --show-keys "$home/key" 2>/dev/null |
    awk -F: '$1 == "pub" { p = 1 } $1 == "fpr" && p { printf "%s ", $10; p = 0 }')
  good=
  for wanted in $3; do
    case " $found" in *" $wanted "*) good="$good $wanted" ;; esac
  done
  [ -n "$good" ] || fail "package source $1 refused: the key at $2 has fingerprint ${found:-none }where $3 was \
expected; compare both with the vendor's page before changing \`sources\`"
  # Only the keys that were asked for are trusted, whatever else the file holds. Public keys need no agent.
  gpg --homedir "$home" --batch --no-autostart --import "$home/key" &&
    gpg --homedir "$home" --batch --no-autostart --export $good >"$home/ring" && [ -s "$home/ring" ] ||
    fail "gpg could not read the key of package source $1"
  mkdir -p -m 0755 /etc/apt/keyrings
  [ ! -f "$ring" ] || cp -- "$ring" "$home/old"
  touch "$home/rung"
  put "$ring" <"$home/ring"
}

# After a power loss or a kill: finish what dpkg left half done, once.
configure() {
  patiently dpkg --configure -a --force-confdef --force-confold ||
    fail "dpkg --configure -a failed: $(reason)"
}

# What an install would remove is known before it begins: where nothing may go, apt itself refuses.
would_remove_only_removable() {
  apt -s install $options "$@" || return 0
  for gone in $(sed -n 's/^Remv \([^ :]*\).*/\1/p' "$work/out"); do
    case " $removable " in
      *" $gone "*) ;;
      *) fail "installing $* would remove $gone, which nobody asked for; remove it yourself if that is meant" ;;
    esac
  done
}

try_install() {
  if [ "$removable" = - ]; then
    apt install --no-remove $options "$@"
  else
    would_remove_only_removable "$@"
    apt install $options "$@"
  fi
}

installing() {
  try_install "$@" && return 0
  outdated='Unable to locate|no installation candidate|was not found|unmet dependencies|404|Failed to fetch'
  if [ -z "$updated" ] && grep -Eq "$outdated|Hash Sum mismatch" "$work/out"; then
    update
    try_install "$@" && return 0
  fi
  why=$(reason)
  [ "$removable" != - ] || ! grep -q 'remove is disabled' "$work/out" || would_remove_only_removable "$@"
  fail "apt-get cannot install $*: $why"
}

# What was here before Ingot, written once: whatever it lists is never Ingot's to remove.
remember() {
  mkdir -p -m 0755 "${1%/*}"
  {
    dpkg-query -W -f='${db:Status-Abbrev}\t${Package}\n' | awk -F'\t' '$1 !~ /^.[nc]/ { print $2 }'
    for directory in /var/lib/docker /var/lib/containerd; do
      [ -z "$(ls -A "$directory" 2>/dev/null)" ] || echo "$directory"
    done
  } | put "$1"
}

. "$work/sources.sh"
[ ! -e "$work/proxy" ] || . "$work/proxy"
trap 'rm -f "$work/proxy"' EXIT
if [ ! -e /run/cloud-init/result.json ] && command -v cloud-init >/dev/null; then
  timeout "$patience" cloud-init status --wait || :
fi
status=0
before=$(cat "$work/before")
[ -e "$before" ] || remember "$before"
while IFS="$tab" read -r step one two three four; do
  echo "== $(date -u +%FT%TZ) $step $one"
  case $step in
    host) host=$one ;;
    patience) patience=$one ;;
    removable) removable=$one ;;
    configure) configure ;;
    theirs) printf '%s\t%s\t%s\t%s\n' "$one" "$two" "$three" "$four" >>"$work/theirs" ;;
    stale) printf '%s\t%s\n' "$one" "$two" >>"$work/stale" ;;
    unsource) unsource "$one" "$two" ;;
    source) source_ "$one" "$two" "$three" "$four" ;;
    file) printf '%s' "$two" | base64 -d | put "$one" ;;
    install)
      options=$one
      installing $two
      ;;
    hold) patiently apt-mark hold $one || fail "apt-mark could not hold $one: $(reason)" ;;
    *) fail "the plan has an unknown step: $step" ;;
  esac
done <"$work/plan"
if [ -e "$work/resume" ]; then
  said=$(sh "$work/resume" 2>&1) || { rm "$work/resume" && fail "$said"; }
fi
