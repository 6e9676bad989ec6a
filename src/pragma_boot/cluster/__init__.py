"""The use cases: boot, list, shut down, start, clean. The only package that knows all the others."""
