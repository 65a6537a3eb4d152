# Brings the engine's image: loads $1/archive where there is one, which $1/address is fetched to; else pulls $1/image from
# its registry. $1/host names the host in sentences; with $1/pushed the archive is removed afterwards, $1/proxy sets the
# way to the address. $1/known names the list of images
# that Ingot has brought: what was here before is not in it, and never Ingot's to remove.
set -u
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
work=$1
log=$2
host=$(cat "$work/host")
image=$(cat "$work/image")
echo "== $(date -u +%FT%TZ) $image" >>"$log"

fail() {
  printf '%s: %s; see %s there\n' "$host" "$1" "$log" >"$work/sentence"
  exit 1
}

# Docker's own last words say what was wrong.
last() {
  tail -n 1 "$work/said"
}

[ ! -e "$work/proxy" ] || . "$work/proxy"
trap 'rm -f "$work/proxy"' EXIT

# The address as a file, from where an earlier attempt or run stopped.
fetched() {
  part=$2.$(printf '%s' "$image" | tail -c 12).part
  echo "$part" >"$work/part"
  attempt=1
  until curl -fsSL -C - --connect-timeout 15 --speed-limit 1000 --speed-time 30 -o "$part" -- "$1" >"$work/said" 2>&1; do
    cat "$work/said" >>"$log"
    case $(last) in
      # All of it is there, or more than all.
      *' 416'*) mv -fT -- "$part" "$2" && return ;;
      *'error: 40'*) attempt=6 ;;
    esac
    [ "$attempt" -lt 6 ] ||
      fail "the image archive $1 could not be fetched ($(last)); correct engine_image_archive, or see to that server"
    sleep $((attempt * 3))
    attempt=$((attempt + 1))
  done
  mv -fT -- "$part" "$2"
}

timeout 30 docker version >"$work/said" 2>&1 || fail "Docker does not answer ($(last)), expected it to take an image"

known=$(cat "$work/known")
mkdir -p -m 0755 "${known%/*}"
docker image inspect "$image" >/dev/null 2>&1 || grep -qxF "$image" "$known" 2>/dev/null || echo "$image" >>"$known"

if [ -e "$work/archive" ]; then
  archive=$(cat "$work/archive")
  [ ! -e "$work/address" ] || fetched "$(cat "$work/address")" "$archive"
  docker load --quiet <"$archive" >"$work/said" 2>&1 &
  echo $! >"$work/pid"
  wait $!
  status=$?
  cat "$work/said" >>"$log"
  [ ! -e "$work/pushed" ] || rm -f -- "$archive"
  [ "$status" = 0 ] || fail "the image archive $archive could not be loaded ($(last)), expected a file of docker save"
  docker image inspect "$image" >/dev/null 2>&1 ||
    fail "the image archive $archive holds no $image ($(last)); compare engine_image_id with the id that docker shows"
  exit 0
fi

attempt=1
until docker pull "$image" >"$work/said" 2>&1; do
  cat "$work/said" >>"$log"
  [ "$attempt" -lt 4 ] ||
    fail "image $image could not be pulled in $attempt attempts ($(last)); check registry, login and digest"
  sleep $((attempt * attempt * 5))
  attempt=$((attempt + 1))
done
cat "$work/said" >>"$log"
