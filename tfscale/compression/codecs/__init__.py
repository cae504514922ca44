"""What a message looks like: one file a code, all behind `base.Codec`."""
