"""OpenAI's API over the same model: what its clients and tools send, and what they expect back.

`requests` are the bodies, `model_names` say what steering a model's name stands for,
`ensemble_requests` make what is asked of the ensemble of both; `choice_formats` and `completion`
give the answer OpenAI's shape, `gateway.http.openai_errors` whatever went wrong.
"""
