"""Images made from Debian's own packages: a folder of files, then one bootable raw disk, then a place in a repository.

No loop device, no mount, no daemon: `packages` fills a folder, `demo` and `tiny` say what is in it, `disk` makes it
a disk, and `builder` publishes all of it in one step.
"""
