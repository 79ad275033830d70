"""HTTP, whatever is asked for: connections, bodies, errors as responses, server-sent events.

`connections` bounds what a client may hold open, `bodies` reads what it sends, `request_context` is
the outermost middleware and gives each request an id and a record.
"""
