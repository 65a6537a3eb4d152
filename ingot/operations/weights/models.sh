# Fetches the files of one model directory, proves each, and publishes the directory by one rename.
# $1/plan, tab separated: `host NAME`, `root DIRECTORY`, `target DIRECTORY`, `damage FILE`, `repository NAME`, then what may
# name code, the sources in the order in which they are asked, and the files:
#   bandwidth BYTES      per second that all transfers together may take; absent: all that there is
#   waived PATH SHA256
#   same SHA256 PATH     a file of another model directory with these bytes
#   me NUMBER HOME, and peer NUMBER NAME ADDRESS PORT: where this host stands among those that share, and the others
#   run ID, and serves NAME: the run, and those of the others whose servers answered in it, a moment ago, on themselves
#   swarm PORT: where all of them have a swarm, if they have one
#   source KIND(hub|mirror|push) BASE        an address, or the directory that was pushed to
#   file PATH BYTES SHA256|- GIT_SHA1|- PROVEN(yes|no)
# PROVEN files have the digest wanted, and have kept size and time since. $1/curl holds options with secrets for the hub,
# if any, $1/proxy the site's proxy as variables. $3, where given, is the number of the one file that this process is for: several run side by side.
#
# Ranges by curl, one request a file, and not the hub's own client: that one checks no content, and begins a file anew
# after it was killed.
set -u
umask 022
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
work=$1
log=$2
exec >>"$log" 2>&1
tab=$(printf '\t')
# Files at once, attempts at one source without a byte more, and seconds without bytes after which a transfer has stalled.
lanes=4
attempts=6
stall_s=30
# Seconds between two rounds of questions to peers, and how many of them a round asks, but for the first and the last one.
turn_s=1
several=3
# Smaller files come from one peer, larger ones from all at once where there is a swarm.
swarm_bytes=1000000
# Seconds after which what peers promise for one file is not waited for any longer.
promise_s=3600

# The first failure is the one that is said.
fail() {
  printf '%s: %s; see %s there\n' "$host" "$1" "$log" >"$work/said.$$"
  ln "$work/said.$$" "$work/sentence" 2>/dev/null
  echo "$1"
  # What runs several of these starts no further one after this status.
  exit 255
}

value() {
  sed -n "s/^$1$tab//p" "$work/plan"
}

host=$(value host)
root=$(value root)
target=$(value target)
# One transfer at a time keeps to the whole of it, whichever files are left.
bandwidth=$(value bandwidth)
rate=
[ -z "$bandwidth" ] || { rate="--limit-rate $bandwidth" && lanes=1; }
marker=.ingot-verified.json
made=.ingot-made
quarantine=$root/.quarantine

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

# sha256sum of coreutils before 9.2 has no fast code: six times slower than OpenSSL.
hasher=sha256sum
! openssl dgst -sha256 -r </dev/null >/dev/null 2>&1 || hasher='openssl dgst -sha256 -r'

# Whether the file has the digest that is wanted; leaves its sha256 in $sum.
good() {
  sum=$($hasher <"$1" | cut -c1-64)
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

pause() {
  echo "waiting $1 s: $2"
  sleep "$1"
}

# What a full quota asks to wait, seconds: Retry-After, or the hub's `RateLimit: "resolvers";r=0;t=55`, whose window is
# five minutes.
quota_s() {
  asked=$(tr -d '\r' <"$head" | sed -n 's/^[Rr]etry-[Aa]fter: *\([0-9]\{1,6\}\)$/\1/p; s/^[Rr]ate[Ll]imit: .*t=\([0-9]\{1,6\}\).*/\1/p' |
    tail -n 1)
  asked=$((${asked:-$((attempt * 15))} + 1))
  [ "$asked" -le 310 ] || asked=310
  echo "$asked"
}

# A disk that is full is nobody's fault but its own: no other source is asked.
room() {
  free=$(df -B1 --output=avail "$dir" | tail -n 1 | tr -d ' ')
  inodes=$(df --output=iavail "$dir" | tail -n 1 | tr -d ' ')
  missing=$(($2 - $(size "$1")))
  if [ "$free" -lt "$missing" ] || [ "$inodes" = 0 ]; then
    fail "no room for $path: $missing bytes are missing, $free bytes and $inodes inodes are free on $(df --output=target "$dir" | tail -n 1); free some and run again, what is there is kept"
  fi
  fail "$path could not be written to $dir: $(tail -n 1 "$error"); look at its disk (\`dmesg\`), then run again"
}

# The rest of a file of a mounted tree, for which curl knows no rate: as much as is allowed, each second.
paced() {
  {
    curl -fsSL -r "$(size "$1")-" -- "$2"
    echo $? >"$head"
  } | while before=$(size "$1"); do
    head -c "$bandwidth" >>"$1" || exit 23
    [ "$(size "$1")" -gt "$before" ] || exit 0
    sleep 1
  done || return
  return "$(cat "$head")"
}

# The host that a source redirects to, where it is another one: a mirror of the hub may pass on who holds the data, whom
# this host cannot reach.
elsewhere() {
  asked=${1#*://} at=$(cat "$work/at.$number" 2>/dev/null)
  at=${at#*://}
  [ -z "$at" ] || [ "${at%%/*}" = "${asked%%/*}" ] || echo ", which leads to ${at%%/*}"
}

# The bytes of one file from one source, from where an earlier attempt or run stopped; $why says why it could not be.
fetch() {
  if [ "$3" = push ]; then
    mv -fT -- "$4" "$1" || fail "the pushed file $4 is gone; run again"
    return
  fi
  options=/dev/null
  [ "$3" != hub ] || options=$work/curl
  attempt=0
  while [ "$(size "$1")" -ne "$2" ]; do
    [ "$(size "$1")" -le "$2" ] || rm -f -- "$1"
    [ "$attempt" -lt "$attempts" ] || { why="could not fetch $4$(elsewhere "$4"): $(tail -n 1 "$error")" && return 1; }
    [ "$attempt" -eq 0 ] || pause "${wait_s:-$((attempt * 3))}" "$(tail -n 1 "$error")"
    wait_s=
    before=$(size "$1")
    : >"$head"
    # A source that sends without end fills no disk.
    (
      ulimit -f $(($2 / 512 + 64))
      case $4 in file://*) [ -z "$bandwidth" ] || { paced "$1" "$4"; exit; } ;; esac
      # shellcheck disable=SC2086
      exec curl $rate -fsSL -C - --config "$options" --dump-header "$head" --connect-timeout 15 --speed-limit 1000 \
        --speed-time "$stall_s" -w '%{url_effective}' -o "$1" -- "$4"
    ) 2>"$error" >"$work/at.$number"
    status=$?
    after=$(size "$1")
    [ "$after" -le "$2" ] || {
      rm -f -- "$1"
      why="could not fetch $4: it has more than the $2 bytes expected" && return 1
    }
    case $status in
      # An answer that is whole, and too short for a second time: so it is there.
      0) [ "$after" -eq "$2" ] || {
        echo "curl: the server ended $4 at $after of $2 bytes" >"$error"
        [ "$after" -gt "$before" ] || attempt=$attempts
      } ;;
      # A server that cannot resume: from the beginning.
      33 | 36) rm -f -- "$1" ;;
      22)
        case $(sed -n 's/.*error: \([0-9]\{3\}\).*/\1/p' "$error") in
          401 | 403) echo "$(tail -n 1 "$error"): gated, private, or not for this token; accept its terms there and give a token by cache_hub_token_file" >"$error" && attempt=$attempts ;;
          400 | 404 | 410) attempt=$attempts ;;
          416) rm -f -- "$1" ;;
          429) wait_s=$(quota_s) ;;
        esac
        ;;
      23) room "$1" "$2" ;;
      # Each attempt has waited already.
      28) attempt=$((attempt + 1)) ;;
    esac
    [ "$after" -gt "$before" ] && [ "$attempt" -lt "$attempts" ] && attempt=0
    attempt=$((attempt + 1))
  done
}

# What curl says of a peer, `STATUS SECONDS` in $answer: $code, and whether there was a connection at all. Where there never
# was one to a peer that serves in this run, that is kept, to be said at the end. When a plan is old, a server may have ended.
heard() {
  status=$? code=${answer% *} kind=$shut/$1
  [ -n "$answer" ] && [ ! -e "$kind/reached/$2" ] || return 0
  mkdir -p "$kind/said" "$kind/reached"
  case $status:${answer#* }:$(tail -n 1 "$error") in
    *Resolving*) ;;
    7:0.000000:* | 28:0.000000:*)
      ! grep -qxF "serves$tab$2" "$work/plan" || [ -z "$(find "$work/plan" -cmin -4)" ] || [ -e "$kind/said/$2" ] ||
        echo "$3" >"$kind/$2"
      ;;
    *) rm -f -- "$kind/$2" && : >"$kind/reached/$2" ;;
  esac
}

# Says of each kind of port to whom there was no connection, each peer once in a run.
say_shut() {
  for kind in peer swarm; do
    for one in "$shut/$kind/reached"/*; do rm -f -- "$shut/$kind/${one##*/}"; done
    names=$(cd "$shut/$kind" 2>/dev/null && find . -maxdepth 1 -type f -printf '%P\n' | sort)
    [ -n "$names" ] || continue
    port=$(cat "$shut/$kind/$(echo "$names" | head -n 1)")
    listed=$(echo "$names" | awk 'NR <= 3 { said = said (NR > 1 ? ", " : "") $0 }
      END { print said (NR > 3 ? " and " NR - 3 " more" : "") }')
    case $kind in
      peer) instead='serving models there; other hosts or the sources are asked instead' ;;
      swarm) instead='in a swarm there; large files come whole from one host each instead' ;;
    esac
    echo "no connection to port $port (cache_${kind}_port) of $listed, $instead; open TCP port $port between the hosts" \
      >"$work/notes/port-$kind"
    find "$shut/$kind" -maxdepth 1 -type f -exec mv -t "$shut/$kind/said" -- {} +
  done
}

# One request to a peer, from where an earlier one stopped; leaves its status in $code.
ask_peer() {
  answer=$(
    ulimit -f $((bytes / 512 + 64))
    exec curl -fsS -C - -q --noproxy '*' --cacert "$home/peer-ca.pem" --cert "$home/peer.pem" --tlsv1.3 \
      --connect-to "$1:$3:$2:$3" --connect-timeout 3 --speed-limit 1000 --speed-time "$stall_s" -w "$way" \
      -o "$part" -- "https://$1:$3/${target#"$root"/}/$path" 2>"$error"
  )
  heard peer "$1" "$3"
}

# The same, where this host and the peer are in a swarm: the peer's list of digests, by which the file comes from all who
# have parts of it. Where no swarm can give it, the peer is asked for all of it.
ask() {
  if [ -n "$swarm" ] && [ "$bytes" -ge "$swarm_bytes" ] && [ ! -e "$shut/swarm/$1" ] && [ ! -e "$shut/swarm/said/$1" ]; then
    digests=$work/digests.$number
    answer=$(curl -fsS -q --noproxy '*' --cacert "$home/peer-ca.pem" --cert "$home/peer.pem" --tlsv1.3 --max-filesize 9000000 \
      --connect-to "$1:$3:$2:$3" --connect-timeout 3 --speed-limit 1 --speed-time "$stall_s" -w "$way" \
      -o "$digests" -- "https://$1:$3/${target#"$root"/}/$path?digests" 2>"$error")
    heard peer "$1" "$3"
    case $code in
      200) ! by_swarm "$1" "$2" || return 0 ;;
      501) ;;
      *) return 0 ;;
    esac
  fi
  ask_peer "$@"
}

# Has the swarm bring a file, which is nobody's meanwhile: whoever moves bytes has no other right here, and none to this
# file once it is all there. A lease on it is given only where nobody may write to it any more.
by_swarm() {
  parts=$file.swarm
  # What came from elsewhere counts, piece by piece.
  [ ! -s "$part" ] || mv -fT -- "$part" "$parts"
  : >>"$parts" && chown 65534:65534 "$parts" && chmod 0600 "$parts" || return 1
  if ! why=$(curl -sS -q --unix-socket "$swarm" --fail-with-body -H "Part: $parts" -H "Bytes: $bytes" -H "Giver: $2" \
    -H 'Content-Type: application/octet-stream' -H 'Expect:' --data-binary "@$digests" http://swarm/ 2>&1); then
    echo "no swarm for $path by $1: $why"
    # It has told of the file just now: so it listens. Is there a way to it?
    answer=$(curl -sSk -q --noproxy '*' --connect-timeout 3 --max-time 3 -w "$way" -o "$work/swarm.$number" \
      "https://$2:$swarm_port/" 2>"$error")
    heard swarm "$1" "$swarm_port"
    return 1
  fi
  chown "$(id -u):$(id -g)" "$parts" && chmod 0644 "$parts" &&
    python3 -ISc 'import fcntl, sys; fcntl.fcntl(open(sys.argv[1]), fcntl.F_SETLEASE, fcntl.F_RDLCK)' "$parts" &&
    mv -fT -- "$parts" "$part" || { rm -f -- "$parts" && return 1; }
  echo "$1" >"$work/holder"
  echo "by swarm: $path"
}

# Whom this round asks: everybody where $round is 0, else several of them in turn, and last the one who has the file or
# fetches it, since that one keeps its answer for a while; in a swarm first, since it need not give all of it.
asked_peers() {
  awk -F"$tab" -v leader="$leader" -v round="$round" -v several="$several" -v swarm="$swarm" '
    $3 == leader && swarm { print; next } $3 == leader { last = $0; next } { others[n++] = $0 }
    END {
      if (round == 0 || several > n) several = n
      for (i = 0; i < several; i++) print others[(round * several + i) % n]
      if (last != "") print last
    }' "$work/peers"
}

# A file from a peer that has it. One that sends what is not wanted is named, and not asked for this file again; one that
# is away is asked again after a minute. While another fetches the model from outside, or waits and comes before this host,
# this one waits; else it fetches for all, and returns 1. Two that took the lead at once see each other: the first keeps it.
from_peers() {
  [ -s "$work/peers" ] || return 1
  me=$(sed -n "s/^me$tab\([0-9]*\)$tab.*/\1/p" "$work/plan")
  bad=' '
  wrong=
  # Who had or fetched the file before has this one, too, or will: not everybody is asked again.
  leader=
  round=0
  [ ! -s "$work/holder" ] || { read -r leader <"$work/holder" && round=$number; }
  began=$(date +%s)
  while :; do
    waits=
    at=$(date +%s)
    asked_peers >"$work/asked.$number"
    while IFS="$tab" read -r _ index name address port; do
      case $bad in *" $name "*) continue ;; esac
      [ ! -e "$work/away.$name" ] || [ -z "$(find "$work/away.$name" -mmin -1)" ] || continue
      tries=2
      [ -s "$part" ] || tries=1
      while [ "$tries" -gt 0 ]; do
        tries=$((tries - 1))
        ask "$name" "$address" "$port"
        case $code in
          200 | 206 | 416)
            found="$(size "$part") bytes" expected=$bytes
            [ "$(size "$part")" -ge "$bytes" ] || break
            if [ "$(size "$part")" -eq "$bytes" ] && good "$part" "$sha" "$git"; then
              [ -z "$wrong" ] || echo "$wrong; $path was taken from $name instead" >"$work/notes/$number"
              echo "from peer $name: $path"
              return 0
            fi
            quarantine "$part" "from peer $name, $found, expected $expected"
            [ "$tries" -gt 0 ] || { bad="$bad$name " wrong="$wrong${wrong:+; }$path of peer $name has $found, expected $expected"; }
            ;;
          503)
            leader=$name
            echo "$name" >"$work/holder"
            if [ ! -e "$lead" ]; then
              waits=yes
            elif [ "$index" -lt "$me" ]; then
              rm -f -- "$lead"
              waits=yes
            fi
            break
            ;;
          409)
            [ "$index" -gt "$me" ] || [ -e "$lead" ] || waits=yes
            break
            ;;
          # It has the file, and sends others just now.
          429)
            leader=$name
            echo "$name" >"$work/holder"
            waits=yes
            break
            ;;
          000)
            echo "peer $name: $(tail -n 1 "$error")"
            touch "$work/away.$name"
            break
            ;;
          *) break ;;
        esac
      done
    done <"$work/asked.$number"
    if [ -z "$waits" ]; then
      # Nobody fetches for all who has not asked all.
      [ "$round" -eq 0 ] || { round=0 && continue; }
      if [ ! -e "$lead" ]; then
        : >"$lead"
      elif [ -z "$(find "$lead" -newermt '-3 seconds' 2>/dev/null)" ]; then
        [ -z "$wrong" ] || echo "$wrong; $path was fetched from outside instead" >"$work/notes/$number"
        return 1
      fi
    fi
    [ -n "$waits" ] && round=$((round + 1))
    now=$(date +%s)
    [ $((now - began)) -lt "$promise_s" ] || { echo "no peer gave $path within $promise_s s" && return 1; }
    # One that kept its answer was waited for.
    [ $((now - at)) -gt 1 ] || sleep "$turn_s"
  done
}

# Asks one source after the other for a file until one has the bytes that are wanted; names each that had not.
obtain() {
  from_peers && return
  asked=0
  wrong=
  while IFS="$tab" read -r _ kind base; do
    asked=$((asked + 1))
    address=$base/$path
    [ "$kind" != push ] || address=$base/$((number - 1))
    # Half a file may be another source's, and what is wrong its fault: then the whole of it, before this one is blamed.
    tries=1
    if [ "$(size "$part")" -gt 0 ] || [ "$asked" -eq "$sources" ]; then tries=2; fi
    while [ "$tries" -gt 0 ]; do
      tries=$((tries - 1))
      if ! fetch "$part" "$bytes" "$kind" "$address"; then
        wrong="$wrong${wrong:+; }$why"
        break
      fi
      if good "$part" "$sha" "$git"; then
        [ -z "$wrong" ] || echo "$wrong; $path was taken from $base instead" >"$work/notes/$number"
        return
      fi
      quarantine "$part" "$found, expected $expected"
      [ "$kind" != push ] || fail "the pushed file $path has $found, expected $expected; compare it with its manifest"
      [ "$tries" -gt 0 ] || wrong="$wrong${wrong:+; }$address has $found, expected $expected$([ "$asked" -lt "$sources" ] || echo ', twice')"
    done
  done <"$work/sources"
  case $wrong in
    *', expected '*) fail "$wrong; the lock, the manifest or the source is wrong" ;;
    *) fail "$wrong" ;;
  esac
}

# Configuration that would have a library load code is no model's, unless somebody has read it: by the names of its keys,
# also where letters of them are escaped. A switch names no code. operations/weights/code_in_config.py says the same.
without_code() {
  case ${path##*/} in
    tokenizer.json | vocab.json | *.index.json) return ;;
    *.json) ;;
    *) return ;;
  esac
  keys=$(tr -d ' \t\r\n' <"$file" | sed -E 's/"_attn_implementation[A-Za-z_]*":(true|false|null)//g' |
    grep -aoE '"(auto_map|custom_pipeline|_attn_implementation[^"]*|[^"]*\\u00[4-7][0-9a-fA-F][^"]*)":' | sort -u |
    tr -d '":' | paste -sd ' ')
  [ -z "$keys" ] || grep -qxF "waived$tab$path$tab$sum" "$work/plan" ||
    fail "$path of $(value repository) names code to be loaded ($keys), expected none; engines are started without it: where the model serves so, read the file and waive it by models_waived = {\"$(value repository)\": {\"$path\": \"$sum\"}}"
}

# A file that another model directory has with the same bytes, which are read once more: both share it from here on. Nothing
# writes to a file of a published model, so that neither can change the other's.
shared() {
  grep "^same$tab$sha$tab" "$work/plan" | cut -f3- >"$work/same.$number"
  while read -r there; do
    [ -f "$there" ] && [ ! -L "$there" ] && [ "$(size "$there")" -eq "$bytes" ] && good "$there" "$sha" "$git" &&
      ln -- "$there" "$file" 2>"$error" && rm -f -- "$part" && echo "shared: $path with $there" && return
  done <"$work/same.$number"
  return 1
}

# Has one file as it is wanted, wherever its bytes come from, and writes its line of the marker.
have() {
  file=$dir/$path
  part=$file.part
  error=$work/error.$number
  head=$work/head.$number
  : >"$error"
  [ ! -L "$file" ] || set_aside "$file" 'a link'
  mkdir -p -- "${file%/*}" || room "$part" "$bytes"
  if [ -f "$file" ] && [ "$proven" = yes ]; then
    sum=$sha
  elif [ -f "$file" ] && [ "$(size "$file")" -eq "$bytes" ] && good "$file" "$sha" "$git"; then
    echo "kept: $path"
  else
    if [ -f "$file" ] && [ "$ours" = yes ]; then
      quarantine "$file" 'not as wanted'
    elif [ -e "$file" ]; then
      set_aside "$file" 'not as wanted'
    fi
    shared || {
      obtain
      # Pushed files arrive as the user who logs in; only root may write what the engine loads.
      chown "$(id -u):$(id -g)" "$part" && chmod 0644 "$part" && sync -- "$part" && mv -fT -- "$part" "$file" ||
        fail "could not write $file"
      echo "fetched: $path ($bytes bytes)"
    }
  fi
  rm -f -- "$file.swarm"
  without_code
  printf '{"path": "%s", "bytes": %s, "sha256": "%s", "git_sha1": "%s", "mtime": "%s"}\n' \
    "$path" "$bytes" "$sum" "$git" "$(find "$file" -printf '%T@')" >"$work/done/$number"
}

dir=$target
[ -d "$target" ] && [ ! -L "$target" ] || dir=$target.incomplete
[ "$dir" = "$target" ] || own "$dir" "$target" || fail "could not make $dir"
ours=no
! is_own "$dir" "$target" || ours=yes

home=$(sed -n "s/^me$tab[0-9]*$tab//p" "$work/plan")
# Where this host's server takes orders for a swarm; empty where it is in none.
swarm=$home/swarm.sock
[ -S "$swarm" ] || swarm=
swarm_port=$(value swarm)
# Which peers could not be connected to in this run: a file each below peer and swarm, moved to `said` there; `reached` has
# those that could.
shut=$home/shut.$(value run)
way='%{http_code} %{time_connect}'
# What a peer's server (peer_on_host.py) says of this directory: wanted while it is locked, led while the file is there.
lead=$home/at-work/$(printf %s "$target" | sha256sum | cut -c1-64).leads

if [ $# -gt 2 ]; then
  number=$3
  sources=$(wc -l <"$work/sources")
  sed -n "${number}p" "$work/list" >"$work/line.$number"
  IFS="$tab" read -r _ path bytes sha git proven <"$work/line.$number"
  have
  exit
fi

touch "$work/curl"
trap 'rm -f "$work/curl" "$work/proxy"' EXIT
[ ! -e "$work/proxy" ] || . "$work/proxy"
echo "== $(date -u +%FT%TZ) $target"
# A repair that is cut off must not look verified.
rm -f -- "$dir/$marker"

# Another's half of a file is not gone on with.
find "$dir" -mindepth 1 ! -type d ! -name "$made" ! -name .marker -printf '%P\n' | while read -r path; do
  awk -F'\t' -v p="$path" -v ours="$ours" '$1 == "file" && ($2 == p || (ours == "yes" && ($2 ".part" == p || $2 ".swarm" == p))) { found = 1 }
    END { exit !found }' "$work/plan" || set_aside "$dir/$path" 'not among its files'
done

mkdir -p "$work/done" "$work/notes"
grep "^file$tab" "$work/plan" >"$work/list"
grep "^source$tab" "$work/plan" >"$work/sources"
if [ -n "$home" ] && [ -s "$home/peer.pem" ]; then
  grep "^peer$tab" "$work/plan" >"$work/peers"
  rm -f -- "$lead"
  exec 9>"${lead%.leads}.wants" && flock -n 9 || rm -f "$work/peers"
  find "$home" -maxdepth 1 -name 'shut.*' ! -path "$shut" -exec rm -rf -- {} +
fi
count=$(wc -l <"$work/list")
# Hosts that share begin with different ones of each few files, so that they have something to give each other; in a swarm
# all are at the same ones, and take different pieces.
me=$(sed -n "s/^me$tab\([0-9]*\)$tab.*/\1/p" "$work/plan")
[ -z "$swarm" ] || me=0
seq "$count" | awk -v me="${me:-0}" -v few=8 '
  { line[NR] = $0 }
  END {
    for (at = 0; at < NR; at += few) {
      size = NR - at < few ? NR - at : few
      for (i = 0; i < size; i++) print line[at + (i + me) % size + 1]
    }
  }' | xargs -n 1 -P "$lanes" sh "$0" "$work" "$log" || {
  [ -e "$work/sentence" ] || (fail "the files of $target could not be had")
  say_shut
  printf '%s%s\n' "$(cat "$work/sentence")" "$(cat "$work"/notes/port-* 2>/dev/null | sed 's/^/; /' | tr -d '\n')" \
    >"$work/sentence.all" && mv -fT -- "$work/sentence.all" "$work/sentence"
  exit 1
}
say_shut
[ "$(find "$work/done" -type f | wc -l)" -eq "$count" ] || fail "not all files of $target were proven; run again"

{
  printf '{"verified_at": "%s", "files": [\n' "$(date -u +%FT%TZ)"
  seq "$count" | while read -r number; do
    [ "$number" -eq 1 ] || printf ,
    cat "$work/done/$number"
  done
  printf ']}\n'
} >"$dir/.marker" && sync -- "$dir/.marker" && mv -fT -- "$dir/.marker" "$dir/$marker" ||
  fail "could not write $dir/$marker"
find "$dir" -type d -exec chmod 0755 {} + -exec sync {} +
if [ "$dir" != "$target" ]; then
  mv -T -- "$dir" "$target" || fail "could not publish $target"
fi
! is_own "$target.incoming" "$target" || rm -rf -- "$target.incoming"
sync -- "${target%/*}"
# What a scrub said of these files is over.
damage=$(value damage)
if [ -s "$damage" ]; then
  grep -vF "$tab$target/" "$damage" >"$damage.new"
  mv -fT -- "$damage.new" "$damage"
fi
# Said though all went well: a source that had other bytes, or none.
if [ -n "$(ls -A "$work/notes")" ]; then
  printf '%s: %s\n' "$host" "$(cat "$work"/notes/* | paste -sd ';' | sed 's/; */; /g')" >"$work/sentence"
fi
