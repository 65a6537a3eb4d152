# $1: the model, $2: its file, $3: tokens of all its contexts together, $4: requests at once, $5: the port. Written by
# Ingot: the steps of the unit that its documentation gives, in an image that holds the installation at /opt/lmstudio.
set -e
home=$HOME/.lmstudio
# It writes into its installation: that is a copy, made anew of the image's at each start.
rm -rf "$home"
mkdir -p "$home"
cp -r /opt/lmstudio/. "$home/"
mkdir -p "$home/models/ingot/model"
ln -s "$2" "$home/models/ingot/model/"
lms=$home/bin/lms
trap '"$lms" daemon down; exit 0' TERM
"$lms" daemon up
"$lms" load ingot/model --identifier "$1" --context-length "$3" --parallel "$4" --gpu max --yes
# From here on it answers: what is not loaded is not served.
"$lms" server start --bind 0.0.0.0 --port "$5"
while "$lms" ps | grep -qF -- "$1"; do
    sleep 5 &
    wait $!
done
echo "the model is loaded no more" >&2
exit 1
