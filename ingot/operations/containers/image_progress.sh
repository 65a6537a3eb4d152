# One line on how far image.sh is: how much of the archive came or was read, or how many layers are there.
if [ -e "$1/pid" ]; then
  read=$(sed -n 's/^pos:[[:space:]]*//p' "/proc/$(cat "$1/pid")/fdinfo/0")
  size=$(stat -c %s "$(cat "$1/archive")")
  echo "the image is loaded: $((read / 1000000)) of $((size / 1000000)) MB read"
elif [ -e "$1/part" ]; then
  echo "the image comes: $(($(stat -c %s "$(cat "$1/part")") / 1000000)) MB are there"
else
  echo "the image is pulled: $(grep -c 'Pull complete' "$1/said") of $(grep -c 'Pulling fs layer' "$1/said") layers are there"
fi
