"""Where files are: on disks and in buckets, atomic, recorded, kept near; whatever the scheme."""
