# One look at the GPUs and at the kernel's log, into the directory $1 under the prefix $2. Set before: counter_fields,
# newer_fields. A driver that does not know a newer field, and a host without a driver, leave a file empty.
set -u
smi() { timeout 60 nvidia-smi "$@"; }
smi --query-gpu="$counter_fields" --format=csv,nounits >"$1/$2_counters" 2>&1
smi --query-gpu="$newer_fields" --format=csv,nounits >"$1/$2_newer" 2>&1
smi nvlink -s >"$1/$2_nvlink" 2>&1
smi -q -x 2>&1 | grep -E '<gpu id=|<replay_counter>' >"$1/$2_detail"
dmesg 2>/dev/null | grep -E 'NVRM: Xid|SXid \(' >"$1/$2_kernel"
true
