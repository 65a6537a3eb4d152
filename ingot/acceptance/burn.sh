# What needs the GPUs for itself: replicas out, burn-in and DCGM under a trace of clocks and heat. $1 is the directory
# with config and burnin.py, $2 the directory of results. restore.sh follows, also where this is killed.
set -u
work=$1 results=$2
# shellcheck disable=SC1091
. "$work/config"
ours='label=com.docker.compose.project=ingot-engine'
unit=/etc/systemd/system/ingot-accept-restore.service

# Marks first, so that callers get 503 with Retry-After instead of broken answers; then what runs may end.
names=$(docker ps --filter "$ours" --format '{{.Names}}')
# Of a group it is the supervisor that stops: it would start anew what is stopped under it.
group=/etc/ingot/engine/group.json supervisor=ingot-engine.service
[ ! -e "$group" ] || names=$supervisor
if [ -n "$names" ]; then
  mkdir -p "$results/pool"
  for member in "$work"/pool.*.path; do
    [ -e "$member" ] || continue
    number=${member#"$work/pool."}
    number=${number%.path}
    cp -p "$(cat "$member")" "$results/pool/$number.before" && cp "$work/pool.$number.drained" \
      "$results/pool/$number.drained" && cp "$member" "$results/pool/$number.path"
  done
  # From here on they come back whatever happens: when this unit ends, with the next boot, with the next run.
  echo "$names" >"$results/stopped"
  cat >"$unit" <<END
[Unit]
Description=Ingot: bring back the replicas that an acceptance stopped
After=docker.service ingot-engine.service nginx.service

[Service]
Type=oneshot
ExecStart=/bin/sh $results/restore.sh $results

[Install]
WantedBy=multi-user.target
END
  sync "$results/stopped" "$unit"
  systemctl enable --quiet ingot-accept-restore.service
  for drained in "$results"/pool/*.drained; do
    [ -e "$drained" ] || continue
    path=$(cat "${drained%.drained}.path")
    cp -p "$path" "$path.ingot-accept" && cat "$drained" >"$path.ingot-accept" && mv -T "$path.ingot-accept" "$path"
  done
  if systemctl is-active -q nginx; then nginx -t -q 2>/dev/null && systemctl reload nginx; fi
  sh "$work/idle.sh"
  echo 'stopping the replicas' >"$results/now"
  if [ "$names" = "$supervisor" ]; then
    # The head lets running requests end; the others stop by themselves without it, and wait for that.
    leads='import json, sys; told = json.load(open(sys.argv[1])); sys.exit(told["me"] != next(iter(told["hosts"])))'
    waited=0
    until python3 -c "$leads" "$group" || [ -z "$(docker ps --quiet --filter "$ours")" ] ||
      [ "$waited" -ge $((grace_s + 600)) ]; do
      sleep 1
      waited=$((waited + 1))
    done
    systemctl stop "$supervisor"
  else
    # shellcheck disable=SC2086 # several names
    docker stop --time "$grace_s" $names >/dev/null
  fi
fi

# Only of the GPUs that are burned in: what others do on GPUs that Ingot leaves alone is theirs.
users=$(timeout 60 nvidia-smi --query-compute-apps=gpu_uuid,pid,process_name --format=csv,noheader 2>/dev/null |
  grep -F -e "$(echo "$gpus" | tr , '\n')" | cut -d, -f2- | paste -sd ';')
if [ -n "$users" ]; then
  echo "other processes use the GPUs ($users), expected none; end them and accept again" >"$results/refused"
  exit 1
fi

trace() {
  timeout 60 nvidia-smi --query-gpu="$trace_fields" --format=csv,nounits >>"$results/trace" 2>/dev/null
  while sleep "$interval_s"; do
    timeout 60 nvidia-smi --query-gpu="$trace_fields" --format=csv,nounits,noheader >>"$results/trace" 2>/dev/null
  done
}
trace &
tracer=$!
# shellcheck disable=SC2064 # the process of now
trap "kill $tracer 2>/dev/null" EXIT

if [ -n "$left" ]; then
  echo 'burning in' >"$results/now"
  # shellcheck disable=SC2086 # the words of a command line
  docker run $container "$image" /burnin.py --phases "$left" $burn_options \
    >>"$results/burn_in" 2>"$results/burn_in_errors"
fi
if [ "$diagnose" = 1 ]; then
  echo "DCGM's diagnostics" >"$results/now"
  dcgmi diag -r "$dcgm" -j >"$results/.dcgm" 2>&1
  mv "$results/.dcgm" "$results/dcgm"
fi
echo 'bringing the replicas back' >"$results/now"
