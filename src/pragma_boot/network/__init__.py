"""Addresses, VLANs and MACs: pools of them, who holds which, and the document that tells a node (vc-out)."""
