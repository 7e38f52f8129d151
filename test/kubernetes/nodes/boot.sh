#!/bin/sh
# The first process of a node, in namespaces of its own: boot.sh NAME FOLDER CGROUP
# Gives the node what a machine has for itself: what it must remember is kept in FOLDER, all else goes with this process.
set -eu
name=$1 folder=$2 cgroup=$3
hostname "$name"
mount --make-rshared /
mount -t proc proc /proc

# The controllers, each with a group for this node, which cpuset does not let be used until it has processors.
mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
for controller in blkio cpu cpuacct cpuset devices freezer memory pids; do
  at=/sys/fs/cgroup/$controller
  mkdir "$at"
  mount -t cgroup -o "$controller" cgroup "$at"
  mkdir -p "$at/$cgroup/$name"
done
for group in "$cgroup" "$cgroup/$name"; do
  for what in cpus mems; do
    cat "/sys/fs/cgroup/cpuset/cpuset.$what" >"/sys/fs/cgroup/cpuset/$group/cpuset.$what"
  done
done

for at in /run /var/lib /var/log; do mount -t tmpfs -o mode=755 tmpfs "$at"; done
for part in lib/cni lib/containerd lib/flatnet lib/kubelet log/containers log/pods; do
  mkdir -p "$folder/var/$part" "/var/$part"
  mount --bind "$folder/var/$part" "/var/$part"
done
: >/run/resolv.conf

# Settings of the whole machine that a kubelet writes: files, of which it has its own.
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
  kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  file=$folder/sysctl/${setting%%=*}
  mkdir -p "${file%/*}"
  echo "${setting#*=}" >"$file"
  mount --bind "$file" "/proc/sys/${setting%%=*}"
done

: >"$folder/booted"
# A shell, as it also waits for orphans.
while :; do sleep 3600; done
