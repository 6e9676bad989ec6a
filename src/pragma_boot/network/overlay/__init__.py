"""Clusters of several sites in one WireGuard network, the overlay: its join information, slots, and exchanges.

The cluster booted with `enable-ipop-server=URL` is the *hub*: it makes `information.JoinInformation` and publishes it
at the URL, its *exchange*. A cluster booted with `enable-ipop-client=URL` fetches it there and claims one *slot* for
each of its nodes: a number that gives the node its key and its address. Nothing here knows what a cluster is beyond its
name: `endpoint` says what may be asked of an exchange, `wait` waits for one, `claims` is what an exchange keeps.
"""
