#!/bin/sh
# Runs workerd so that it never outlives the process that started it, even when that one is ended with kill -9:
# an orphan would keep the port and the SQLite files. Also writes "<pid> <birth>" to $COLIBRI_PID_FILE, by which a later
# start can prove that a process of that number is still this one (see state.js).
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

# Linux: the kernel sends the signal at the very moment the parent dies.
if command -v setpriv >/dev/null 2>&1; then
  exec setpriv --pdeathsig KILL "$COLIBRI_WORKERD" "$@"
fi
# Elsewhere (macOS): a small process looks once a second. It holds none of workerd's pipes and ends with it.
(
  while kill -0 "$PPID" 2>/dev/null && kill -0 $$ 2>/dev/null; do sleep 1; done
  kill -9 $$ 2>/dev/null
) </dev/null >/dev/null 2>&1 3>&- &
exec "$COLIBRI_WORKERD" "$@"
