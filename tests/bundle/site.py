"""A closed site: a host with a GPU, and one of another distribution before it; `INGOT_TEST_VALUES` by host."""

import json
import os

from ingot.sandbox.inventory import hosts

_values = json.loads(os.environ["INGOT_TEST_VALUES"])
_known = [(name.removeprefix("@ingot/"), name, data) for name, data in hosts()]
_all = [(name, {**data, **_values[short]}) for short, name, data in _known if short in _values]
sandbox = [(name, {**data, "serve": []} if name.endswith("-front") else data) for name, data in _all]
gateway = [one for one in sandbox if one[0].endswith("-front")]
