# Takes Ingot off a host, as $1/plan says: one tab-separated step per line. Every step may be repeated. The reason of a
# failure goes to $1/sentence, the step that is under way to $1/step, everything else to the log $2.
set -u
umask 022
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l
work=$1
log=$2
exec >>"$log" 2>&1
tab=$(printf '\t')
# Names of what was here before Ingot.
before=/var/lib/ingot/before
host='this host'

fail() {
  printf '%s: %s; see %s there, and run this again\n' "$host" "$1" "$log" >"$work/sentence"
  echo "$1"
  exit 1
}

apt() {
  apt-get -y -q -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

# The packages that a simulated apt-get would remove.
removed() {
  apt -s "$@" 2>/dev/null | sed -n 's/^\(Remv\|Purg\) \([^ :]*\).*/\2/p' | sort -u
}

# Removes packages with what was installed for them alone. What others still need, what was unused before, and what was
# here before Ingot, stays; where something of others would have to go, nothing goes.
purge() {
  # Asked for nothing, dpkg-query would name every package there is.
  [ $# -gt 0 ] || fail 'a step names no package'
  here=$(dpkg-query -W -f='${Package}\n' "$@" 2>/dev/null | sort -u)
  [ -n "$here" ] || return 0
  dpkg --configure -a || :
  # shellcheck disable=SC2086
  apt-mark unhold $here >/dev/null
  { removed autoremove && cat "$before" 2>/dev/null; } | sort -u >"$work/unused"
  # shellcheck disable=SC2086
  removed purge $here >"$work/asked"
  printf '%s\n' "$here" >"$work/here"
  others=$(comm -13 "$work/here" "$work/asked" | tr '\n' ' ')
  [ -z "$others" ] || fail "removing $(echo "$here" | tr '\n' ' ')would remove ${others}too, which is not Ingot's"
  # shellcheck disable=SC2086
  removed purge --auto-remove $here >"$work/all"
  # shellcheck disable=SC2046
  apt purge $(comm -23 "$work/all" "$work/unused") $here || fail "apt-get could not remove $(echo "$here" | tr '\n' ' ')"
}

containers() {
  grace=$1
  shift
  docker stop --time "$grace" "$@"
  docker rm --force "$@" || fail "docker could not remove $*"
}

unit() {
  systemctl disable --now "$1"
  rm -rf -- "/etc/systemd/system/${1:?}"
  systemctl daemon-reload
  systemctl reset-failed "$1" 2>/dev/null || :
}

# dpkg puts a configuration file back only where it is missing.
nginx_of_package() {
  owner=$(dpkg -S /etc/nginx/nginx.conf | cut -d: -f1)
  mv -fT /etc/nginx/nginx.conf "$work/nginx.conf"
  if ! apt install --reinstall -o Dpkg::Options::=--force-confmiss "$owner" || ! nginx -t; then
    cp "$work/nginx.conf" /etc/nginx/nginx.conf
    fail "the package $owner did not give nginx a configuration that works"
  fi
  systemctl reload-or-restart nginx || fail 'nginx does not start with the configuration of its package'
}

# A daemon that was here before Ingot: its package's own files, which dpkg puts back only where they are missing.
packaged() {
  name=$1
  shift
  rm -f -- "$@"
  apt install --reinstall -o Dpkg::Options::=--force-confmiss "$name" || fail "the package $name did not bring its files"
  systemctl restart "$name" || fail "$name does not start with the configuration of its package"
}

# What is kept below $1 is put back under its path; where nginx does not take it, Ingot's stays.
nginx_before() {
  cp -a /etc/nginx/nginx.conf "$work/nginx.conf"
  (cd "$1" && find . '(' -type f -o -type l ')' | cut -c2-) >"$work/files"
  while read -r path; do
    [ "$path" = /etc/nginx/nginx.conf ] || { [ ! -e "$path" ] && [ ! -L "$path" ]; } || continue
    replace "$1$path" "$path" || fail "could not put $path back"
  done <"$work/files"
  if ! why=$(nginx -t 2>&1); then
    replace "$work/nginx.conf" /etc/nginx/nginx.conf
    fail "nginx does not take the configuration that it had before Ingot, which is in $1 ($(
      printf '%s' "$why" | grep -m 1 emerg)); correct it there"
  fi
  systemctl reload-or-restart nginx || fail 'nginx does not start with the configuration that it had before Ingot'
}

guests() {
  rm -f -- "$@" || fail "could not delete $*"
  nginx -t || fail "nginx does not take its configuration without $*"
  systemctl reload nginx || fail 'nginx did not reload its configuration'
}

docker_with_data() {
  goes=$1
  data=$(echo "${2#-}" | tr , ' ')
  shift 2
  touch "$goes"
  systemctl stop docker.socket docker containerd 2>/dev/null || :
  [ $# -eq 0 ] || purge "$@"
  for directory in $data; do
    # A mount point cannot be removed, but emptied.
    [ ! -d "$directory" ] || find "$directory" -mindepth 1 -xdev -delete || fail "could not empty $directory"
    rmdir "$directory" 2>/dev/null || :
  done
  # Keys of registries, and whatever else somebody laid there, are not Docker's.
  rm -f /etc/docker/daemon.json /etc/docker/key.json
  rmdir /etc/docker 2>/dev/null || :
}

# What Docker reads again while it runs counts at once, the rest from its next start: no container is stopped for it.
daemon_json() {
  if [ ! -s "$1" ]; then
    rm -f /etc/docker/daemon.json
  else
    dockerd --validate --config-file "$1" || fail "dockerd does not accept $1, which was its daemon.json"
    cp -pT "$1" /etc/docker/daemon.json.new &&
      mv -T /etc/docker/daemon.json.new /etc/docker/daemon.json || fail 'could not write /etc/docker/daemon.json'
  fi
  systemctl reload docker || :
}

driver() {
  users=$(users_of_gpus | tr '\n' ' ')
  [ -z "$users" ] || fail "${users}uses the GPUs; stop it, or keep the driver with --keep-driver"
  systemctl stop nvidia-persistenced nvidia-fabricmanager 2>/dev/null || :
  modprobe -r nvidia_drm nvidia_modeset nvidia_uvm nvidia_peermem 2>/dev/null || :
  modprobe -r nvidia || echo 'the module stays loaded until the next boot'
  purge "$@"
  # Without its blacklist nouveau may come back at the next boot.
  rm -f /etc/modprobe.d/ingot-nvidia.conf
  ! command -v update-initramfs >/dev/null || update-initramfs -u -k all
}

# Ours goes before theirs comes back, so that apt reads its sources at each moment. Where it would not read theirs any
# more, ours stays.
sources() {
  for name; do
    list=/etc/apt/sources.list.d/ingot-$name.sources
    ring=/etc/apt/keyrings/ingot-$name.gpg
    kept=$(cat "$work/changed")/$name
    [ ! -f "$list" ] || mv -- "$list" "$work/list"
    cp -a -- "$kept" "$work/kept.$name"
    put_back "$kept" || fail "could not put back what is in $kept/was"
    if ! why=$(read_sources 2>&1 >/dev/null); then
      rm -rf -- "$kept" && cp -a -- "$work/kept.$name" "$kept"
      (cd "$kept/now" && find . -type f | cut -c2-) | while read -r path; do
        cmp -s "$kept/was$path" "$path" && replace "$kept/now$path" "$path"
      done
      [ ! -f "$work/list" ] || mv -- "$work/list" "$list"
      fail "apt would not read its sources with the files of $kept/was ($(printf '%s' "$why" | grep -m 1 '^E: ')); \
correct those"
    fi
    rm -f -- "$work/list"
    grep -rqsF "$ring" /etc/apt/sources.list /etc/apt/sources.list.d || rm -f -- "$ring"
  done
}

. "$work/sources.sh"
. "$work/gpu_users.sh"
# What still travels to this host would be written anew behind what is removed.
systemctl stop ingot-transfers.service ingot-models.service 2>/dev/null

while IFS= read -r line; do
  IFS=$tab
  set -f
  # shellcheck disable=SC2086
  set -- $line
  set +f
  unset IFS
  verb=$1
  shift
  echo "== $(date -u +%FT%TZ) $verb $*"
  echo "$verb $*" | cut -c1-100 >"$work/step"
  case $verb in
    host) host=$1 ;;
    containers) containers "$@" ;;
    networks) docker network rm "$@" || fail "docker could not remove network $*" ;;
    images) docker image rm "$@" || echo 'an image is in use and stays' ;;
    unit) unit "$1" ;;
    shred) for file; do [ ! -f "$file" ] || shred -u -- "$file" || fail "could not overwrite $file"; done ;;
    nginx) nginx_of_package ;;
    nginx_before) nginx_before "$1" ;;
    guests) guests "$@" ;;
    packaged) packaged "$@" ;;
    emptied) for directory; do rmdir "$directory" 2>/dev/null || echo "$directory is not empty"; done ;;
    purge) purge "$@" ;;
    user) sh "$work/user.sh" || fail "could not remove the user $1" ;;
    sources) sources "$@" ;;
    docker) docker_with_data "$@" ;;
    daemon_json) daemon_json "$1" ;;
    again) apt install "$@" || echo "$* could not be installed again; do so by hand" ;;
    snap) snap start --enable docker || fail 'Docker of the snap does not start again' ;;
    driver) driver "$@" ;;
    models)
      root=$1
      shift
      for directory; do
        # The proof that it is Ingot's goes last: what was cut off, the next run finds again.
        proof=$directory/.ingot-made
        [ ! -f "$proof" ] || { find "$directory" -xdev -mindepth 1 ! -path "$proof" -delete && rm -f -- "$proof" &&
          rmdir -- "$directory"; } || fail "could not delete $directory"
      done
      # What is left of <model>/<variant>/<revision>, where nothing of others lies in it.
      for directory; do rmdir "${directory%/*}" "${directory%/*/*}" 2>/dev/null; done
      fstrim "$root" 2>/dev/null || echo 'the disk was not told which blocks are free'
      ;;
    absent)
      # The place for request bodies is a mount of its own, which old workers of nginx may still use.
      for path; do ! mountpoint -q "$path" || umount --lazy "$path" || fail "could not unmount $path"; done
      rm -rf -- "$@" || fail "could not delete $*"
      ;;
    *) fail "the plan has an unknown step: $verb" ;;
  esac
done <"$work/plan"
systemctl daemon-reload
