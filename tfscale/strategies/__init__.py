"""Rules by which replicas learn together: a folder each, all behind `base.Strategy`."""
