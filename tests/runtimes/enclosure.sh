# The file system of a node for the programs that run in it, in a mount namespace of its own: what
# they leave in fixed places is gone with it. Ends with its standard input, and everything with it.
#
# $1 is the folder of the simulated VPCs, $2 the daemon's, $3 that of plugins, $4 that of network lists.
set -euo pipefail

# Namespaces of others must not live on because they are mounted here, too.
umount --lazy /run/netns/* 2>/dev/null || true
mount --rbind "$1" /mnt
mount -t tmpfs node /run
mkdir -p "$1" /run/netns /run/lock /run/aws-node
mount --move /mnt "$1"
mount --bind "$2" /run/aws-node
for folder in etc opt var/lib; do
    mkdir -p "/run/upper/$folder" "/run/scratch/$folder"
    mount -t overlay -o "lowerdir=/$folder,upperdir=/run/upper/$folder,workdir=/run/scratch/$folder" node "/$folder"
done
mkdir -p /etc/cni/net.d /opt/cni/bin /var/lib/cni /var/lib/containers
mount --bind "$3" /opt/cni/bin
mount --bind "$4" /etc/cni/net.d
# What the machine's own runtimes keep there is none of this node's.
mount -t tmpfs node /var/lib/cni
mount -t tmpfs node /var/lib/containers
mount -t tmpfs node /dev/shm
echo ready
# As the first process of its namespace, bash takes care of orphans while it waits.
read -r _
