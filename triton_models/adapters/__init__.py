"""The Python-backend side of each model: Triton's requests in, its responses out.

`tokenizer`, `steered_qwen` and `detokenizer` hold the classes that the `1/model.py` files export.
They run in Triton's stub process, where alone `triton_python_backend_utils` can be imported.
"""
