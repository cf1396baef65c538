# Outlives a SPEARlet that was killed and ends what it ran. Standard input ends
# when the SPEARlet does; then: SIGTERM, up to two seconds of grace, SIGKILL.
# $1: id of the node, found in the environment of what it started
# $2: directory whose control groups hold the processes of attempts; absent: none do
# $3…: directories of the groups that limit them
node=$1
groups=$2
shift

members() (
  exec 2>/dev/null
  if [ -n "$groups" ]; then
    cat "$groups"/*/cgroup.procs
    exit
  fi
  for process in /proc/[0-9]*; do
    marks=$(tr '\0' '\n' <"$process/environ" | grep -xe "SPEAR_NODE_ID=$node" -e SPEAR_RUNTIME=process)
    [ "$(echo "$marks" | wc -l)" -eq 2 ] && echo "${process#/proc/}"
  done
)

kill_all() {
  for file in "$groups"/*/pids.max; do
    [ -e "$file" ] && echo 0 >"$file"
  done
  for file in "$groups"/*/cgroup.kill; do
    [ -e "$file" ] && echo 1 >"$file"
  done
  kill -s STOP "$@"
  kill -s KILL "$@"
}

trap '' TERM INT HUP
exec 2>/dev/null
cat >/dev/null
told=
for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  all=$(members)
  [ -z "$all" ] && break
  if [ "$round" -gt 10 ]; then
    kill_all $all
  else
    [ -z "$told" ] && kill -s TERM $all
    told=yes
  fi
  sleep 0.2
done
for group; do
  [ -n "$group" ] && rmdir "$group"/*/ "$group"
done
