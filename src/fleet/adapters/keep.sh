#!/bin/sh
# Keeps the beginning and the end of what comes on standard input, however much that is.
#
#   /bin/sh keep.sh FOLDER NAME PART_BYTES
#
# The first two parts stand in NAME; those after them in NAME.0 and NAME.1 in turn, each over the one before the
# last, and NAME.part is the number of the part that is being written. So four parts are on disk at most, the last
# one or two of them whole, and what is between is gone. All of it is written as it comes: split reads and counts,
# a cat for each part writes. It needs nobody: it ends when whoever writes has ended, and then NAME.end says that
# nothing more will come: who reads after the agent's end can wait for what is still on its way.

set -uf
cd -- "$1" || exit 1
SHELL=/bin/sh # what split runs its filter with
export SHELL
split -b "$3" -a 6 -d --filter='
    case $FILE in
        *.00000[01]) exec cat >>"${FILE%.*}" ;;
        *[02468]) part=0 ;;
        *) part=1 ;;
    esac
    echo "${FILE##*.}" >"${FILE%.*}.part"
    exec cat >"${FILE%.*}.$part"' - "$2." 2>/dev/null && : >"$2.end" && exit
# A split that has no filters: the beginning alone is kept, what follows is read and dropped.
(
    trap '' XFSZ
    ulimit -f "$(($3 * 4 / 512))"
    exec cat >>"$2"
) 2>/dev/null
cat >/dev/null
: >"$2.end"
