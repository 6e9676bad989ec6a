"""The driver `qemu`: nodes are QEMU processes of the user who runs pragma; nothing of root's is needed."""
