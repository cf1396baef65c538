#!/bin/sh
# Takes a node out of work, as before a reboot, and gives it work again. A task that runs
# there may finish for two seconds; then it moves to the other node, at no cost for its
# retries.
#
#   spear dev --nodes 2          (in another terminal)
#   sh examples/drain.sh
set -eu
spear=${SPEAR:-spear}

task=$($spear run --detach --name patient -- sleep 600)
node=
while [ -z "$node" ]; do
  node=$($spear task get "$task" | sed -n 's/^node *//p')
done
echo "$task runs on $node"

# New tasks go elsewhere from here on. Each change of what is left is a line.
$spear node drain "$node" --deadline 2s --wait
echo "$node can be switched off now"

# The history says where the task was and why it moved.
until $spear task events "$task" | grep -q 'attempt 2'; do :; done
$spear task events "$task"

# The node gets tasks again; without this it would not, however often it is restarted.
$spear node undrain "$node"
$spear task kill "$task"
