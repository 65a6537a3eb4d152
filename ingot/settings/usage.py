"""Section "usage": what tokens cost."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ingot.settings.kinds import Expected, Section, Text
from ingot.settings.serving import ModelName

Amount = Annotated[float, Field(ge=0), Expected("an amount from 0 on")]


class Price(Section):
    """What a million tokens of a model cost."""

    input: Amount
    output: Amount


class Usage(Section):
    """Prices by which `ingot usage --cost` counts."""

    prices: Annotated[
        dict[ModelName, Annotated[Price, Expected("input and output")]],
        Expected("prices by model such as {'qwen3-8b': {'input': 0.1, 'output': 0.4}}"),
    ]
    prices_currency: Annotated[Text, Field(max_length=8), Expected("a currency such as 'EUR'")]
