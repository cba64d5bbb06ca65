"""What work is done on: the threads, processes and devices of a machine."""
