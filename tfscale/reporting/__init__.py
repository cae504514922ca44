"""Where the records of a run go: one file a place, all behind `base.Sink`. Only the chief reports."""
