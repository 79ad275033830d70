"""The life of one answer: which server makes it, how often it is tried, how long it may take.

`dispatcher` starts a `generation` on a server and tries another one as long as nothing has arrived;
`client_deadline` and `queue_times` bound its time; `observed_generation` tells the request's record
what came of it.
"""
