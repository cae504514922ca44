"""Sources of examples, the pipeline that feeds replicas, and the download of data sets."""
