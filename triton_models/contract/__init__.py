"""The contract between Triton's models, the gateway, the launcher and the clients.

- `tensors`: the names, types and shapes of all inputs and outputs.
- `request`: what a request may ask for, its limits and defaults, and how it is validated.
- `prompt`: the forms that a prompt can take, and how they are validated.
- `errors`: the errors that reach a user, with the codes that responses carry.
- `buckets`: the histogram buckets that latencies are compared with.

Everything else may import these modules. They import each other and the standard library only, so
that a program that talks to the models needs neither torch nor transformers.
"""
