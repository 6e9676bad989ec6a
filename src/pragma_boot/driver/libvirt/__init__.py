"""Virtual machines on one Linux host, through libvirt's own bindings."""
