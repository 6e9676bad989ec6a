"""The site driver `cloudstack`: nodes are virtual machines of an Apache CloudStack cloud."""
