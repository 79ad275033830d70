"""Everything that parses what others send, given what nobody should send.

`python -m tests.fuzz TARGET` looks for trouble, with atheris; `test_fuzz.py` tries a little of it,
and all that was found before, wherever the tests run.
"""
