"""Who may speak with the engine's processes of this host: the hosts of its group, on their interface, and itself.

Its ports are random and unauthenticated. So what its owner sends anywhere else is dropped, the answers to a stranger's
connection among it, whatever port that came to; and members are let in where the host drops what it does not know.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

CHAIN, LET_IN = "INGOT-GROUP", "INGOT-GROUP-IN"


def rules(interface: str, peers: Iterable[str], port: int) -> str:
    """Both chains as iptables-restore takes them: replaced in one step."""
    named = list(peers)
    return "\n".join(
        [
            "*filter",
            f":{CHAIN} - [0:0]",
            f":{LET_IN} - [0:0]",
            f"-A {CHAIN} -o lo -j RETURN",
            *(f"-A {CHAIN} -o {interface} -d {peer}/32 -j RETURN" for peer in named),
            f"-A {CHAIN} -j DROP",
            *(f"-A {LET_IN} -i {interface} -s {peer}/32 -p tcp --dport 1024:65535 -j ACCEPT" for peer in named),
            *(f"-A {LET_IN} -i {interface} -s {peer}/32 -p udp --dport {port} -j ACCEPT" for peer in named),
            "COMMIT",
            "",
        ]
    )


def hooks(owner: str) -> list[tuple[str, list[str]]]:
    """The rules that lead into the chains, by table's chain."""
    uid, _, gid = owner.partition(":")
    return [
        ("OUTPUT", ["-m", "owner", "--uid-owner", uid, "--gid-owner", gid, "-j", CHAIN]),
        ("INPUT", ["-j", LET_IN]),
    ]


def close(interface: str, peers: Iterable[str], port: int, owner: str) -> None:
    """Put the rules in force. Raises: OSError, subprocess.SubprocessError: nothing may be started then."""
    for program, text in (("iptables", rules(interface, peers, port)), ("ip6tables", rules(interface, (), port))):
        _run(f"{program}-restore", "--wait", "--noflush", stdin=text)
        for chain, rule in hooks(owner):
            if not _succeeds(program, "-w", "-C", chain, *rule):
                _run(program, "-w", "-I", chain, "1", *rule)


def leave(owner: str) -> None:
    """Take the rules away; those that are not there are none to take."""
    for program in ("iptables", "ip6tables"):
        for chain, rule in hooks(owner):
            _succeeds(program, "-w", "-D", chain, *rule)
        for chain in (CHAIN, LET_IN):
            _succeeds(program, "-w", "-F", chain)
            _succeeds(program, "-w", "-X", chain)


def _run(*words: str, stdin: str = "") -> None:
    subprocess.run(words, input=stdin.encode(), check=True, capture_output=True, timeout=30)


def _succeeds(*words: str) -> bool:
    return subprocess.run(words, check=False, capture_output=True, timeout=30).returncode == 0
