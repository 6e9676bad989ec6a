"""The guest agent: makes a running machine a member of its cluster, from the vc-out document alone (guest.md 8).

Nothing here runs on a host. `build.agent` puts these modules and the renderer that prepares disks (`image.inspect`,
`image.render`) into one file, `guest/pragma-guest`, for Python 3.6 and its standard library. So this code, and what
it uses, keeps to what 3.6 can do, apart from annotations, dataclasses and `StrEnum`, which the bundler takes care of.
"""
