"""Functions that return a keras.Model: one file a model.

`input_shape` and `classes` come from the data where conf/ says `auto`.
"""
