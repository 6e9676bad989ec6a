"""pragma_boot: virtual clusters (one frontend, N compute nodes, a private network) from one command."""

__version__ = "3.0.0.dev0"
