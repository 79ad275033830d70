"""The Python-backend side of each model: Triton's requests in, its responses out.

Each module holds the class that a `1/model.py` exports. They run inside Triton's stub process,
which alone can import `triton_python_backend_utils`.
"""
