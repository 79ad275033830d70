"""The inference engine: continuous batching with a different steering in every row.

`sequence`, `scheduler` and `rows` are pure Python. `model_runner` alone touches the device, through
`packed_batch`, `attention` and `sampling`. `engine` runs the loop; `model_loading` makes what it
runs on.
"""
