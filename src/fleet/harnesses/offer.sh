#!/bin/sh
# Keeps an attempt open for clients of `fleet mcp`, until one of them has handed in what it came to.
#
#   exec /bin/sh offer.sh ATTEMPT_FOLDER
#
# It only waits: who takes the work and what is handed in is settled by files of the folder (adapters/offers.py).
# The FIFO is held open from before the first look, so that no poke is lost between a look and the wait.

set -uf
_fifo=$1/handed
[ -p "$_fifo" ] || mkfifo -m 600 "$_fifo" || exit 1
exec 3<>"$_fifo"
printf 'offered to clients of fleet mcp\n'
until [ -e "$1/handed.json" ]; do
    read -r _ <&3 || sleep 1
done
printf 'handed in\n'
