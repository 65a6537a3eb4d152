"""Files of this machine that a deploy of a host reads: judged before anything is changed, and not made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from pyinfra.api.host import Host

from ingot.errors import IngotError
from ingot.operations import monitored, proxy
from ingot.secrets import hub_token, keys, pki, word
from ingot.settings import Settings


def unusable(one: Host, values: Settings) -> Iterator[str]:
    """A sentence, without the host's name and the final stop, for each file that a role could not use."""
    # pyinfra's last group of a host is the inventory file's name.
    directory = keys.secrets_dir(values.secrets_dir, one.groups[-1] if one.groups else "")
    looks: list[Callable[[], object]] = [lambda: keys.read(directory)]
    if values.gateway_certificate != "files":
        looks.append(lambda: pki.existing(directory))
    if values.cache_hub_token_file:
        file = values.cache_hub_token_file
        looks.append(lambda: hub_token.read(file))
    if values.proxy:
        looks.append(partial(proxy.shell, values.proxy))
    if monitored.is_monitor(one):
        mail = values.monitoring_mail
        named = {
            "monitoring_webhook_token_file": values.monitoring_webhook_token_file,
            "monitoring_mail.password_file": mail.password_file if mail else None,
        }
        looks += [partial(word.read, path, value) for value, path in named.items() if path]
    if missing := values.without_lock():
        yield missing
    for look in looks:
        try:
            look()
        except IngotError as error:
            yield str(error).rstrip(".")
        except OSError as error:
            yield f"{error.filename}: {error.strerror}; have it readable for who deploys"
