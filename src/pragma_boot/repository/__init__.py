"""Where images come from: catalogs, vc-in documents, and disks made ready on this machine."""
