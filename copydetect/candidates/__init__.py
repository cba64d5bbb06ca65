"""What both channels found → candidate pairs, scored together."""
