#!/bin/sh
# Runs workerd so that it never outlives the process that started it, even when that one is ended with kill -9:
# an orphan would keep the port and the SQLite files. Also writes "<pid> <birth>" to $COLIBRI_PID_FILE, by which a later
# start can prove that a process of that number is still this one (see state.js).
#
# Before that it gets what it needs not to end under many clients: descriptors, and, where there is one ($COLIBRI_GUARD), the
# library that bounds its connections. What the last one cached ($COLIBRI_CACHE) goes. After several deaths in a row it starts
# $COLIBRI_PAUSE_SECS later.
#
# exec keeps the process id, so the caller's child *is* workerd and its signals arrive there.

birth() {
  if [ -r "/proc/$$/stat" ]; then
    read -r line <"/proc/$$/stat"
    set -- $line
    echo "${22}"
  else
    ps -o lstart= -p $$
  fi
}
echo "$$ $(birth)" >"$COLIBRI_PID_FILE"

# The Worker knows what it cached until it ends (R21.10), however it ended. The folder itself stays: it is given to workerd.
if [ -d "$COLIBRI_CACHE" ]; then find "$COLIBRI_CACHE" -mindepth 1 -delete; fi

# As many descriptors as may be had, up to more than the memory of one machine has sockets and objects for: a connection takes
# two, an object five. Only root may raise the hard limit.
ulimit -n 262144 2>/dev/null || ulimit -n "$(ulimit -H -n)" 2>/dev/null || :

# Both are set for workerd alone, and by the last exec: `sleep` and `setpriv` must not be guarded.
run='sleep "${COLIBRI_PAUSE_SECS:-0}"; if [ -n "$COLIBRI_GUARD" ]; then export LD_PRELOAD="$COLIBRI_GUARD"; fi; exec "$COLIBRI_WORKERD" "$@"'

# Linux: the kernel sends the signal at the very moment the parent dies.
if command -v setpriv >/dev/null 2>&1; then
  exec setpriv --pdeathsig KILL /bin/sh -c "$run" sh "$@"
fi
# Elsewhere (macOS): a small process looks once a second. It holds none of workerd's pipes and ends with it.
(
  while kill -0 "$PPID" 2>/dev/null && kill -0 $$ 2>/dev/null; do sleep 1; done
  kill -9 $$ 2>/dev/null
) </dev/null >/dev/null 2>&1 3>&- &
eval "$run"
