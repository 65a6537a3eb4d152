"""The engine's processes of a group speak with its hosts alone."""

from ingot.engines.group.firewall import hooks, rules


def test_the_rules_let_peers_in_on_their_interface_and_drop_what_goes_elsewhere() -> None:
    assert rules("eth1", ["10.1.0.8"], 29502).splitlines() == [
        "*filter",
        ":INGOT-GROUP - [0:0]",
        ":INGOT-GROUP-IN - [0:0]",
        "-A INGOT-GROUP -o lo -j RETURN",
        "-A INGOT-GROUP -o eth1 -d 10.1.0.8/32 -j RETURN",
        "-A INGOT-GROUP -j DROP",
        "-A INGOT-GROUP-IN -i eth1 -s 10.1.0.8/32 -p tcp --dport 1024:65535 -j ACCEPT",
        "-A INGOT-GROUP-IN -i eth1 -s 10.1.0.8/32 -p udp --dport 29502 -j ACCEPT",
        "COMMIT",
    ]


def test_they_are_of_the_engines_owner_alone() -> None:
    assert hooks("2000:0")[0] == (
        "OUTPUT",
        ["-m", "owner", "--uid-owner", "2000", "--gid-owner", "0", "-j", "INGOT-GROUP"],
    )
