"""The inference engine: continuous batching with a different steering in every row.

`sequence`, `scheduler` and `rows` are pure Python. `model_runner` alone touches the device, through
`packed_batch`, the model and `sampling`. `new_sequence` turns a request into a sequence, `engine`
runs the loop, `build` makes it all.
"""
