"""Whether KVM really works on this host."""
