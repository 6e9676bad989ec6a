"""The site driver `kvm_rocks`: nodes are virtual hosts of a Rocks cluster (docs/kvm-rocks.md)."""
