"""Functions that return a keras.Model: one file a model.

`input_shape` comes from the data, and `outputs` and `activation` from the task, where conf/ says `auto`.
"""
