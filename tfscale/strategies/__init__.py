"""How replicas learn together: one file a rule, all behind `base.Strategy`."""
