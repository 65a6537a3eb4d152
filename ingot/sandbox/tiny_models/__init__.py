"""The models that test hosts serve, one of each kind: small, of random weights, the same bytes on every machine.

Nothing is downloaded and no machine learning package is needed: a weight is two bytes of a SHAKE stream, so that a
directory depends on this package alone.
"""
