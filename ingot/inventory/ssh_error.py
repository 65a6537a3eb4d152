"""Why a connection over SSH did not come about, in the system's or paramiko's own words."""

from paramiko.ssh_exception import NoValidConnectionsError


def in_words(error: BaseException) -> str:
    """The message of an error of the system or paramiko; the name of its class where it has no message.

    Of several addresses that were tried, what each of them said, once.
    """
    if isinstance(error, NoValidConnectionsError):
        return " or ".join(dict.fromkeys(in_words(each) for each in error.errors.values()))
    words = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return words[:1].lower() + words[1:] or type(error).__name__
