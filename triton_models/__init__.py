"""What the models of the Triton model repository are made of.

Data flows one way: `prompt` and `request` turn tensors into validated values, `text` turns a
prompt into tokens, `engine` turns tokens into tokens with the `model` under the `steering` that
`vectors` hold, and `adapters` speak Triton's Python-backend API at both ends.
"""
