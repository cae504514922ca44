"""Collectives, by which replicas exchange tensors: one file a transport, all behind `base.Collective`."""
