# Prints what the kernel has counted, from either version of control groups.
cd /sys/fs/cgroup || exit
for group in memory/memory.oom_control memory.events; do
	[[ ! -r $group ]] || sed 's/^/memory./' "$group"
done
for group in pids/pids.events pids.events; do
	[[ ! -r $group ]] || sed 's/^/pids./' "$group"
done
