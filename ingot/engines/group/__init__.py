"""Several hosts that serve one replica, on each of them: its supervisor, which a unit of the host runs.

The engine does not tell when one of its hosts is gone: the head's health route goes on saying 200, and members never
end. So the head counts epochs. In each it has all members stop, waits until every one of them said so, then has all
start; whatever ends or falls silent ends the epoch for all. It needs the standard library and `calls` and `files` of
the watch over replicas, and runs on Python 3.9.
"""
