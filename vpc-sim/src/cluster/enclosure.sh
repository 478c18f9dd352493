# The file system of a node for the programs that run in it, in namespaces of processes, mounts and
# names of its own. Ends with its standard input, and everything with it.
#
# $1 is the node's folder on disk, $2 its name, which pods on its own network show.
set -euo pipefail
disk=$1
hostname "$2"
mount --make-rshared /
# Namespaces of others must not live on because they are mounted here, too.
umount --lazy /run/netns/* 2>/dev/null || true
mount -t tmpfs -o mode=755 node /run
mount --make-shared /run
mkdir -p /run/netns /run/lock
for folder in etc opt var/lib var/log; do
    mkdir -p "$disk/upper/$folder" "$disk/scratch/$folder"
    mount -t overlay -o "lowerdir=/$folder,upperdir=$disk/upper/$folder,workdir=$disk/scratch/$folder" node "/$folder"
    mount --make-shared "/$folder"
done
# An overlay cannot be the upper folder of another one, and kubelet's volumes propagate.
for folder in lib/kubelet lib/containerd log/pods log/containers; do
    mkdir -p "$disk/$folder" "/var/$folder"
    mount --bind "$disk/$folder" "/var/$folder"
    mount --make-shared "/var/$folder"
done
mkdir -p /var/lib/cni /opt/cni/bin /etc/kubernetes/manifests
mount -t tmpfs node /var/lib/cni
# What the machine has there is none of this node's; a node keeps its own over a reboot.
if [ ! -e "$disk/booted" ]; then
    rm -rf /etc/cni/net.d /opt/cni/bin/*
    touch "$disk/booted"
fi
mkdir -p /etc/cni/net.d
# Kubelet sets these, and they are the machine's.
for setting in vm/overcommit_memory=1 kernel/panic=10 kernel/panic_on_oops=1; do
    file="/run/sysctl.$(basename "${setting%=*}")"
    echo "${setting#*=}" >"$file"
    mount --bind "$file" "/proc/sys/${setting%=*}"
done
# In a user namespace of a pod the kernel mounts /proc only where all of one can be seen.
mkdir /run/proc
mount -t proc proc /run/proc
echo ready
# As the first process of its namespace, bash takes care of orphans while it waits.
read -r _
