"""Alert rules over a fleet's metrics, rendered to one file that Prometheus 2.42 and later read.

Order: `rule`, the subjects (`gpu`, `engine`, `baseline`, `slo`, `gateway`, `host`, `watching`), `catalogue`, then what
is made of them: `rendered`, `inhibitions`, `page`.
"""
