#!/bin/sh
# merge.sh RESULT COUNTS...: adds up what count.sh made of the parts of a text.
# The most frequent word comes first, equally frequent ones in the order of the alphabet.
set -eu
export LC_ALL=C
result=$1
shift
awk '{ count[$2] += $1 } END { for (word in count) print count[word], word }' "$@" |
  sort -k1,1nr -k2,2 >"$result"
