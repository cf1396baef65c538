# Outlives a SPEARlet that was killed and ends what it ran. Standard input ends
# when the SPEARlet does; then: SIGTERM, up to two seconds of grace, SIGKILL.
# $1: directory with a control group for each attempt, or empty
# $2: id of the node, found in the environment of what it started
dir=$1
node=$2

members() (
  exec 2>/dev/null
  if [ -n "$dir" ]; then
    cat "$dir"/*/cgroup.procs
  else
    for process in /proc/[0-9]*; do
      marks=$(tr '\0' '\n' <"$process/environ" | grep -xe "SPEAR_NODE_ID=$node" -e SPEAR_RUNTIME=process)
      [ "$(echo "$marks" | wc -l)" -eq 2 ] && echo "${process#/proc/}"
    done
  fi
)

trap '' TERM INT HUP
cat >/dev/null
all=$(members)
[ -z "$all" ] && exit
kill -s TERM $all 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do
  sleep 0.2
  [ -z "$(members)" ] && exit
done
for _ in 1 2 3 4 5 6 7 8 9 10; do
  all=$(members)
  [ -z "$all" ] && exit
  for group in "$dir"/*/cgroup.kill; do
    [ -n "$dir" ] && [ -e "$group" ] && echo 1 >"$group"
  done
  kill -s KILL $all 2>/dev/null
  sleep 0.1
done
