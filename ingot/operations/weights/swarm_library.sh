# Installs the library of swarms as packages.sh does, and does not insist: without it hosts give each other whole files.
sh "$1/packages.sh" "$1" "$2" && exit
[ ! -s "$1/sentence" ] || sed -i 's/$/; this host takes and gives whole files, without a swarm/' "$1/sentence"
exit 0
