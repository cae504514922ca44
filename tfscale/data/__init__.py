"""Where examples come from (one file a format, NumPy only) and the pipeline that feeds replicas."""
