"""Native CPU kernels for the dense pass and the codes of gradient sharing: sources, and how they are found."""
