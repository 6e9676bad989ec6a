"""The default driver: plain Linux hosts with QEMU and libvirt."""
