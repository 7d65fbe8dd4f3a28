#!/bin/sh
# Runs one attempt in its tmux pane: claim, place, agent, exit record, in this order.
#
#   exec /bin/sh pane.sh ATTEMPT_FOLDER
#
# The claim makes an attempt run at most once: it appears whole, by a hard link, and names this process by pid,
# start time and boot. Only its holder goes on; another wrapper ends with 96 and touches nothing. The exit record
# appears whole too, by a rename, and only the claim's holder writes it. Fifty of these start at once, so whatever
# the shell can do without a fork it does without one. The agent's environment is read in the agent's own
# process: no name in it can steer this script. Codes: 96 claimed by another, 97 wrong place, 98 no folder.

set -uf
unset CDPATH ENV TMUX TMUX_PANE
_folder=$1
[ -e "$_folder/claim" ] && exit 96
[ -r "$_folder/spec" ] || exit 98

# ---- the claim

IFS= read -r _stat <"/proc/$$/stat" || exit 98
IFS= read -r _boot </proc/sys/kernel/random/boot_id || exit 98
set -- ${_stat##*") "} # what follows the program's name, which may hold spaces; field 20 of it is the start
printf '{"pid": %d, "start_ticks": %s, "boot_id": "%s"}\n' "$$" "${20}" "$_boot" >"$_folder/claim.$$" || exit 98
if ! ln "$_folder/claim.$$" "$_folder/claim" 2>/dev/null; then
    rm -f "$_folder/claim.$$"
    [ -e "$_folder/claim" ] && exit 96
    exit 98
fi

# ---- what ends it

# A terminal's interrupt is for the agent; this shell stays to write how it ended.
trap : INT QUIT TERM

finish() { # REASON CODE
    _signal=null
    [ "$2" -gt 128 ] && [ "$2" -le 192 ] && _signal=$(($2 - 128))
    _tries=0
    rm -f "$_folder/claim.$$" & # beside what follows: this shell's end is what the agent's is seen by
    _removal=$!
    until printf '{"code": %d, "signal": %s, "reason": "%s", "ended_at_ms": %s}\n' \
        "$2" "$_signal" "$1" "$(date +%s%3N)" >"$_folder/exit.tmp" &&
        mv -f "$_folder/exit.tmp" "$_folder/exit"; do
        # A full disk: the record waits for room, as long as there is a folder to put it in.
        _tries=$((_tries + 1))
        [ "$_tries" -lt 300 ] && [ -d "$_folder" ] || break
        sleep 1
    done 2>/dev/null
    wait "$_removal"
    exit "$2"
}

. "$_folder/spec" # sets fleet_* and the agent's argv as "$@"

# ---- the place

in_place() {
    cd -P -- "$fleet_worktree" 2>/dev/null || return 1
    [ "$PWD" = "$fleet_worktree" ] || return 1
    [ -n "$fleet_admin" ] || return 0
    # A linked worktree and git's record of it name each other: what rev-parse would look up, without a fork.
    [ -f .git ] && IFS= read -r _line <.git && [ "$_line" = "gitdir: $fleet_admin" ] &&
        [ -f "$fleet_admin/HEAD" ] && IFS= read -r _line <"$fleet_admin/gitdir" &&
        [ "$_line" = "$fleet_worktree/.git" ] && return 0
    unset GIT_DIR GIT_WORK_TREE GIT_COMMON_DIR
    _line=$(git rev-parse --absolute-git-dir 2>/dev/null) && [ "$_line" = "$fleet_admin" ]
}

if ! in_place; then
    printf 'fleet: %s is not the worktree of this attempt\n' "$fleet_worktree" >&2
    finish wrong-place 97
fi

# ---- the agent

_timeout=$(command -v timeout)
if [ "$fleet_stdout" = file ]; then
    # Held open for both directions until tee has opened its end, so that nobody waits for anybody.
    exec 8<>"$_folder/stdout.fifo"
    (
        exec 8>&- 9>&1 <"$_folder/stdout.fifo"
        tee -a /dev/fd/9 | {
            exec 9>&-
            set -- "$_folder" stdout.log "$fleet_part_bytes"
            . "$fleet_keep"
        }
    ) &
    _tee=$!
fi

read -r _began _ </proc/uptime
(
    . "$_folder/env"
    [ "$fleet_secrets" = yes ] && : >"$_folder/env"
    [ "$fleet_stdout" = file ] && exec >&8 8>&-
    [ -n "$fleet_stdin" ] && exec <"$fleet_stdin"
    [ -n "$fleet_timeout_s" ] &&
        exec "$_timeout" --foreground -k "$fleet_grace_s" "$fleet_timeout_s" "$@"
    exec "$@"
)
_code=$?
read -r _ended _ </proc/uptime
[ "$fleet_secrets" = yes ] && rm -f "$_folder/env"

if [ "$fleet_stdout" = file ]; then
    # All that the agent wrote is in the file before its end is told; but a child that it left behind may hold
    # the pipe for ever, so the wait has an end: when for a second nothing came, after half a minute at most.
    exec 8>&-
    trap : USR1
    (
        sleep 1
        _kept=
        for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29; do
            _before=$_kept
            _kept=$(ls -l "$_folder")
            [ "$_kept" = "$_before" ] && break
            sleep 1
        done
        kill -USR1 $$
    ) >/dev/null 2>&1 &
    _watch=$!
    wait "$_tee"
    trap '' USR1
    kill "$_watch" 2>/dev/null
fi

case $_code in
126 | 127) finish not-found "$_code" ;;
124 | 137)
    # The agent may end with these codes itself: it is a time-out only if the time is over.
    [ -n "$fleet_timeout_s" ] && [ "$((${_ended%.*} - ${_began%.*}))" -ge "$fleet_timeout_s" ] &&
        finish timeout "$_code"
    ;;
esac
finish exited "$_code"
