"""Section "monitoring": what watches the hosts, where it is reached, and whom it tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ingot.monitoring.rules.slo import ITL_EDGES_S, TTFT_EDGES_S, nearest
from ingot.settings.kinds import Days, Expected, LocalPath, Many, Section, Text, Wrong, pattern, refuse

_Port = Annotated[int, Field(ge=1024, le=65535), Expected("a TCP port from 1024 to 65535")]
_Share = Annotated[Annotated[float, Field(gt=0, lt=1)], Expected("a share between 0 and 1 such as 0.95")]
_Seconds = Annotated[Annotated[float, Field(gt=0)], Expected("seconds above 0 such as 2.5")]
_MailAddress = Annotated[str, *pattern(r"[^@\s\"'\\]+@[^@\s\"'\\]+", "a mail address")]


class Mail(Section):
    """How notices become mail: to whom, from whom, by which server (`name:port`, with TLS), and as which user there."""

    to: Annotated[Many[_MailAddress], Field(min_length=1), Expected("a list of mail addresses")]
    sender: Annotated[_MailAddress, Expected("a mail address")]
    server: Annotated[str, *pattern(r"[A-Za-z0-9.-]+:[0-9]{1,5}", "a mail server such as 'mail.corp.example:587'")]
    user: Annotated[Text | None, Expected("a user's name, or None")] = None
    password_file: Annotated[LocalPath | None, Expected("a path on this machine, or None")] = None


class Monitoring(Section):
    """Ports, how long figures are kept, what is promised, who gets notices; for inventories with a group `monitor`."""

    monitoring_answered_share: _Share
    monitoring_dcgm: Annotated[Literal["auto", "off"], Expected("'auto' or 'off'")]
    monitoring_disk_share: Annotated[
        Annotated[float, Field(gt=0, le=0.9)], Expected("a share of a disk above 0 and up to 0.9 such as 0.3")
    ]
    monitoring_floor: Annotated[Annotated[int, Field(ge=1)], Expected("a whole number of requests from 1")]
    monitoring_itl_s: _Seconds
    monitoring_itl_share: _Share
    monitoring_keep_days: Days
    monitoring_login_port: _Port
    monitoring_mail: Annotated[Mail | None, Expected("to, sender and server, or None")]
    monitoring_port: _Port
    monitoring_ttft_s: _Seconds
    monitoring_ttft_share: _Share
    monitoring_webhook: Annotated[
        Annotated[str, *pattern(r"https?://[^\s\"'\\]+", "")] | None, Expected("an http or https address, or None")
    ]
    monitoring_webhook_token_file: Annotated[LocalPath | None, Expected("a path on this machine, or None")]

    @model_validator(mode="after")
    def _parts_go_together(self) -> Self:
        refuse("monitoring", self._wrong())
        return self

    def _wrong(self) -> Iterator[Wrong]:
        for name, limit, edges in (
            ("monitoring_ttft_s", self.monitoring_ttft_s, TTFT_EDGES_S),
            ("monitoring_itl_s", self.monitoring_itl_s, ITL_EDGES_S),
        ):
            if limit not in edges:
                yield Wrong((name,), limit, nearest(edges, limit))
        if self.monitoring_login_port == self.monitoring_port:
            yield Wrong(("monitoring_login_port",), self.monitoring_login_port, "another port than monitoring_port")
        if self.monitoring_webhook_token_file and not self.monitoring_webhook:
            yield Wrong(
                ("monitoring_webhook_token_file",),
                self.monitoring_webhook_token_file,
                "None while monitoring_webhook is None",
            )
        mail = self.monitoring_mail
        if mail and bool(mail.user) != bool(mail.password_file):
            yield Wrong(("monitoring_mail",), mail.user, "user and password_file both, or neither")
