"""The choice of the fastest of several strategies, at the start of a job."""
