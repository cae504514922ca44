"""Where the records of a run go: one file a place, all behind `base.Sink`.

The chief reports to all of them, others only to their log.
"""
