"""What can be seen of the gateway: metrics, log lines, traces.

`gateway.request_record` says what happened; `metrics`, `access_log` and `tracing` are told and show
it. They are told in two places that every route goes through: the outermost middleware
(`gateway.http.request_context`) and the dispatcher of all generations
(`gateway.generation.dispatcher`).
"""
