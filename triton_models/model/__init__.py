"""The language model: what it is made of, its weights, and its forward pass.

`architecture` reads a model folder's configuration, `rotary` turns positions into rotations,
`transformer` is the forward pass, `linear` and `attention` are its two kinds of heavy work,
`checkpoint` fills it with weights and `loading` puts all of this together. Nothing here knows
requests, batches' rows or Triton.
"""
