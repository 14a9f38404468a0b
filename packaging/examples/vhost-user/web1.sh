#!/bin/sh
# Starts a guest on the switch's port web1. Further arguments are QEMU's: -serial mon:stdio, -daemonize, -vnc :1, …
set -eu
name=web1
memory=1G
disk=/var/lib/weft/web1.img
mac=52:54:00:20:00:02
socket=/run/weft/ports/web1/web1.sock
accel=${ACCEL:-kvm}

# Without KVM, QEMU 7.2 crashes when a guest uses message-signalled interrupts on such a card.
vectors=
[ "$accel" = kvm ] || vectors=,vectors=0

exec qemu-system-x86_64 -name "$name" \
    -accel "$accel" -M q35 -cpu max -m "$memory" -nodefaults -no-user-config -display none \
    -object "memory-backend-memfd,id=mem,size=$memory,share=on" -numa node,memdev=mem \
    -drive "file=$disk,format=raw,if=virtio" \
    -chardev "socket,id=$name,path=$socket,reconnect=1" \
    -netdev "vhost-user,id=net-$name,chardev=$name" \
    -device "virtio-net-pci,netdev=net-$name,mac=$mac$vectors" \
    "$@"
