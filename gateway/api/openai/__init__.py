"""OpenAI's API over the same model: what its clients and tools send, and what they expect back.

`requests` are the bodies, `model_names` say what steering a model's name stands for, `inputs` make
the ensemble's inputs of both; `choices` and `completion` give the answer OpenAI's shape, `errors`
whatever went wrong.
"""
