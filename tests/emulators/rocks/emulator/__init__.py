"""A Rocks site in one folder: what `rocks`, `ssh` and `zfs` do there, without Rocks (README.md beside this folder)."""
