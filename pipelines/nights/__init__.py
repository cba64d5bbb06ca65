"""The jobs on a catalogue: a night, and what is asked of a bank."""
