#!/bin/sh
# count.sh TEXT COUNTS: counts the words of a text.
# A word is a run of letters, in lower case; a line of the result is a count and a word.
set -eu
export LC_ALL=C
tr -cs 'A-Za-z' '\n' <"$1" | tr 'A-Z' 'a-z' | sed '/^$/d' | sort | uniq -c >"$2"
