"""One look at a host before anything changes."""

import subprocess

import pytest

from ingot.facts.errors import ParseError, Unread
from ingot.facts.host import HostLook, HostState, Listener, parse_listeners, parse_spaces

pytestmark = pytest.mark.driver


def test_this_machine_can_be_read() -> None:
    command = HostLook().command(paths=["/", "/no/such/directory yet"], ports=[443, 80])
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    look = HostLook().process(done.stdout.splitlines())
    assert isinstance(look, HostState), look
    assert look.memory_bytes > 1 << 28
    assert abs(look.clock_skew_s) < 30
    assert {space.path for space in look.spaces} == {"/", "/no/such/directory yet"}
    assert all(space.free_bytes > 0 for space in look.spaces)


def test_space_is_asked_where_the_path_will_be() -> None:
    (space,) = parse_spaces("/srv/models\t 80295354368 16253488 /srv\n")
    assert (space.path, space.free_bytes, space.mount) == ("/srv/models", 80295354368, "/srv")


@pytest.mark.parametrize("inodes", ["-", "0"])
def test_a_file_system_that_counts_no_inodes_has_enough(inodes: str) -> None:
    assert parse_spaces(f"/\t1000 {inodes} /\n")[0].free_inodes > 1 << 40


def test_what_df_does_not_print_is_one_sentence() -> None:
    with pytest.raises(ParseError, match="df printed"):
        parse_spaces("df: /srv: Permission denied\n")


def test_listeners_are_named_by_their_first_process() -> None:
    # As iproute2 6.15 prints it on a Debian 13 host.
    line = 'LISTEN 0  511  0.0.0.0:443  0.0.0.0:*    users:(("nginx",pid=812,fd=6),("nginx",pid=811,fd=6))'
    assert parse_listeners(line) == (Listener("0.0.0.0:443", "nginx"),)
    assert parse_listeners("LISTEN 0 4096 *:443 *:*")[0].process == "unknown"


def test_a_look_that_was_cut_off_is_data() -> None:
    assert isinstance(HostLook().process(["@@ingot-begin uid", "0"]), Unread)
    assert isinstance(HostLook().process([]), Unread)


def test_the_nginx_by_which_figures_leave_a_host_is_none_of_others() -> None:
    listening = 'LISTEN 0 511 0.0.0.0:9443 0.0.0.0:* users:(("nginx",pid=7,fd=3))'
    [ours] = parse_listeners(listening, "7 0::/system.slice/ingot-monitoring.service")
    [theirs] = parse_listeners(listening, "7 0::/system.slice/other.service")
    assert (ours.process, theirs.process) == ("nginx", "an nginx that nginx.service has not started")
