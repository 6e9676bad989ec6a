"""Repository class `clonezilla`: disks saved by Clonezilla, restored by this program itself.

Reads as one restore: `remote` (where the folders are) → `iso` (the image directory in an ISO) → `directory` (its
files) → `saved` (what they say of the disk) → `unpack` → `partclone` → `table`, `lvm`, `swap` → `target` (raw, qcow2,
zvol); `restore` puts them together, `repository` is the class.
"""
