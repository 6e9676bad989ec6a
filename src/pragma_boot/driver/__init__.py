"""Site drivers: what runs the VMs."""
