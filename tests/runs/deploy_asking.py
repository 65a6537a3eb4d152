"""A run that asks its hosts one standing question and then changes them: what the test of a hang deploys."""

from collections.abc import Generator, Iterable

from pyinfra.api.command import PyinfraCommand, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.context import host

from ingot.facts.sections import Question, split
from ingot.operations.operation import operation
from ingot.operations.standing import standing


class Space(FactBase[str]):
    """Room of the root file system, as `df` says it."""

    def command(self) -> str:
        return Question.of({"space": "df --output=avail /"})

    @staticmethod
    def default() -> str:
        return ""

    def process(self, output: Iterable[str]) -> str:
        return split(output)["space"].output


@operation()
def change() -> Generator[PyinfraCommand, None, None]:
    """Change something where there is room."""
    if standing(host, Space):
        yield StringCommand("echo $$ >>/run/changed; while [ -e /run/wait ]; do sleep 0.2; done")


change(name="Change something")
