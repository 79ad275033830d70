"""Starts, supervises and stops Triton Inference Server and the gateway on one machine.

`scripts/serve.sh` runs it as `python -m launcher`; the end-to-end tests use it as a library.
"""
