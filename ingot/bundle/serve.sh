# Has an nginx of its own serve the bundle below $1/current over TLS on port $3; $2 is what to do.
set -u
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
base=$1
home=/etc/ingot/bundle
unit=ingot-bundle.service
umask 022

fail() {
  echo "$1" >&2
  exit 1
}

# The package's own nginx, with its own site, is not what is wanted: it is not started.
install_nginx() {
  list=$new/archive.sources
  only="-o Dir::Etc::sourcelist=$list -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0"
  patience='-o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0'
  systemctl mask --runtime --quiet nginx.service
  # shellcheck disable=SC2086
  { apt-get -q $only $patience -o APT::Update::Error-Mode=any update &&
    apt-get -q -y $only $patience --no-install-recommends install nginx; } >"$new/said" 2>&1
  status=$?
  systemctl unmask --runtime --quiet nginx.service
  [ "$status" = 0 ] || fail "nginx is not there and cannot be installed from $base/current ($(grep -m 1 '^E: ' "$new/said" ||
    tail -n 1 "$new/said")); push the bundle to this host and deploy it first"
}

# $1 becomes the file $2 with mode $3 where it differs; leaves a word in $changed.
put() {
  ! cmp -s "$1" "$2" || return 0
  changed="$changed ${2##*/}"
  chmod "$3" "$1" && mv -fT -- "$1" "$2" && sync -- "$2" || fail "cannot write $2"
}

case $2 in
  # The certificate that is shown; nothing where there is none.
  look)
    openssl x509 -in "$home/pair.pem" 2>/dev/null
    true
    ;;
  # Standard input is base64 of a tar.gz with nginx.conf, the unit, archive.sources, and pair.pem where it is a new one.
  serve)
    new=$(mktemp -d /run/ingot-bundle.XXXXXXXX) && trap 'rm -rf "$new"' EXIT || fail 'cannot write below /run'
    base64 -d | tar -xz --no-same-owner -C "$new" || fail 'what arrived was cut off; run it again'
    taken=$(ss -H -ltnp "sport = :$3" | sed -n 's/.*users:(("\([^"]*\)".*/\1/p' | head -n 1)
    [ -z "$taken" ] || { grep -qs "listen $3 " "$home/nginx.conf" && systemctl is-active -q "$unit"; } ||
      fail "port $3 is taken by $taken, expected a free one; name another by --port"
    command -v nginx >/dev/null || install_nginx
    mkdir -p "$home" || fail "cannot write below ${home%/*}"
    changed=
    [ ! -e "$new/pair.pem" ] || put "$new/pair.pem" "$home/pair.pem" 0600
    put "$new/nginx.conf" "$home/nginx.conf" 0644
    put "$new/$unit" "/etc/systemd/system/$unit" 0644
    case $changed in *"$unit"*) systemctl daemon-reload ;; esac
    systemctl enable --quiet "$unit"
    # Another port is bound by a start alone.
    case $changed in
      *nginx.conf* | *"$unit"*) systemctl restart "$unit" ;;
      ?*) systemctl reload-or-restart "$unit" ;;
      *) systemctl start "$unit" ;;
    esac
    turns=0
    until [ -n "$(ss -H -ltn "sport = :$3")" ] && systemctl is-active -q "$unit"; do
      turns=$((turns + 1))
      [ "$turns" -lt 40 ] || fail "nginx does not serve on port $3 ($(journalctl -u "$unit" -n 1 -o cat)); see \
\`journalctl -u $unit\` there"
      sleep 0.5
    done
    echo "changed$changed"
    ;;
  # It serves no more; the bundle itself stays.
  stop)
    [ ! -e "/etc/systemd/system/$unit" ] || systemctl disable --quiet --now "$unit" || fail "$unit does not stop"
    rm -rf -- "/etc/systemd/system/$unit" "$home"
    systemctl daemon-reload
    ;;
esac
