# What the proxy signs with is trusted beside the host's own CAs, by what Ingot fetches and nothing else of the host.
# apt reads both files as a user of its own.
kept() {
  temporary=$(mktemp "$1.XXXXXXXX") && cat >"$temporary" && chmod 0644 "$temporary" && mv -fT -- "$temporary" "$1"
}
mkdir -p -m 0755 "$proxy_home"
{ cat /etc/ssl/certs/ca-certificates.crt 2>/dev/null; printf '%s\n' "$proxy_ca"; } | kept "$proxy_home/proxy-ca.pem"
echo "Acquire::https::CAInfo \"$proxy_home/proxy-ca.pem\";" | kept "$proxy_home/proxy-apt.conf"
export CURL_CA_BUNDLE="$proxy_home/proxy-ca.pem" APT_CONFIG="$proxy_home/proxy-apt.conf"
