"""The language model: its architecture, its weights, and its forward pass.

`architecture` reads a model folder's configuration, `transformer` is the forward pass, of `linear`
layers, `attention` and `rotary` position embeddings, `checkpoint` fills it with weights, and
`loading` puts it all together. Nothing here knows about requests, batch rows or Triton.
"""
