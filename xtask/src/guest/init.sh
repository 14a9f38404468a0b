#!/bin/sh
# The first program of a guest: finds its network cards, runs /vm.sh, ends the machine.
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts && mount -t devpts devpts /dev/pts
modprobe -a virtio_pci virtio_mmio
for alias in $(cat /sys/bus/pci/devices/*/modalias /sys/bus/virtio/devices/*/modalias 2>/dev/null | sort -u); do
    modprobe -q "$alias"
done
hostname vm
ip link set lo up
[ -f /vm.sh ] && sh /vm.sh
sync
poweroff -f
