# Fetches model directories one after the other, each as models.sh does: $1/0, $1/1 and so on have their plans.
# One that fails stops no other: the run that waits for this finds out what is there.
for each in "$1"/[0-9]*; do
  # Begun again at boot: servers of other hosts that answered before may have rebooted, too.
  [ ! -e "$1/begin.sh" ] || sed -i '/^serves\t/d' "$each/plan"
  sh "$1/models.sh" "$each" "$2"
  cat "$each/sentence" >>"$1/sentence" 2>/dev/null
done
