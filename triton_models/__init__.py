"""The implementation of the Triton models in `model_repository`.

Data flows one way: `contract` turns tensors into validated requests and prompts, `text` turns
prompts into tokens, `engine` generates tokens with the `model`, steered by `steering` with the
`vectors`, and `adapters` connect both ends to Triton's Python backend. `grpc_messages`,
`grpc_failures` and `control` are for programs that call Triton. `json_values` bounds untrusted
JSON.
"""
