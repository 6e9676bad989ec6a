"""The commands, by what they work on; importing them makes them known to the registry."""

from . import addresses, keys, limits, lives, machines, networks, queries, rules, site, tags, templates

__all__ = [
    "addresses",
    "keys",
    "limits",
    "lives",
    "machines",
    "networks",
    "queries",
    "rules",
    "site",
    "tags",
    "templates",
]
