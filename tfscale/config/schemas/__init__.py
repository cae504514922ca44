"""Which keys a configuration has and what each may be."""
