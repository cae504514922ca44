"""Starting processes and owning run directories. No TensorFlow here: a parent must stay small and never hang in it."""
