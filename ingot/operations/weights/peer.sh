# Serves this host's models to the other hosts of the fleet, until nobody has asked for a while: $1/words are the server's
# arguments; certificate, key and CA lie where it and models.sh read them.
set -u
umask 022
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
work=$1
log=$2
exec >>"$log" 2>&1
echo "== $(date -u +%FT%TZ) peers"
read -r words <"$work/words"
# shellcheck disable=SC2086
exec python3 -I "$work/peer_on_host.py" $words
