#!/bin/sh
# Stands before the plugin: notes the call, and does with it what was ordered for its verb.
call="@FOLDER@/calls/$(date +%s%N)-$CNI_COMMAND"
cat >"$call.stdin"
env >"$call.part"
# Now it is complete.
mv "$call.part" "$call.env"

real() { "@REAL@" <"$call.stdin"; }

read -r order after 2>/dev/null <"@FOLDER@/orders/$CNI_COMMAND" || [ -n "$order" ] || order=obey
case "$order" in
obey) exec "@REAL@" <"$call.stdin" ;;
fail) failed=yes ;;
fail-after) real >/dev/null && failed=yes ;;
garbage-after) real >/dev/null && echo 'no JSON' ;;
hang) exec sleep 3600 ;;
hang-after) real >/dev/null && exec sleep 3600 ;;
killed) kill -9 $$ ;;
killed-within)
    "@REAL@" <"$call.stdin" >/dev/null &
    sleep "$after"
    kill -9 $! $$
    ;;
killed-after) real >/dev/null && kill -9 $$ ;;
hold)
    while [ ! -e "@FOLDER@/go" ]; do sleep 0.02; done
    exec "@REAL@" <"$call.stdin"
    ;;
esac
if [ -n "$failed" ]; then echo '{"cniVersion":"0.4.0","code":999,"msg":"ordered to fail"}'; fi
exit 1
