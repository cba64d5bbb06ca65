"""Files on disks and in buckets: written atomically, recorded, and cached on this machine."""
