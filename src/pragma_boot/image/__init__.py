"""Disks: clone an image's disk for each node, and edit what is in it without mounting it in the host's kernel."""
