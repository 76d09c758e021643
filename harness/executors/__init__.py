"""Where runs happen. Today: child processes on this machine."""
