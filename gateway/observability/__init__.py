"""What can be seen of the gateway: metrics, log lines, traces.

`records` says what happened; `metrics`, `access_log` and `tracing` are told and show it. They are
told in two places that every route goes through: the outermost middleware (`gateway.middleware`)
and the client that all generations are made with (`gateway.triton_client`).
"""
