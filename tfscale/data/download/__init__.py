"""The catalog of data sets, and how they are fetched."""
