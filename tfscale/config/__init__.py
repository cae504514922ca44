"""The boundary to Hydra: everything from an argument to a checked configuration. No TensorFlow here."""
