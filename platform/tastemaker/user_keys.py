"""Keys of all that is kept online of one user: `tm:{user}:NAME`. What is not a user's begins in another way.

The braces are the hash tag by which a Redis Cluster keeps a user's keys on one node. An id that has braces itself would
end the tag too soon, and reach into the keys of others: there the tag is `{` and the id percent-encoded, as far as
that is needed. No id without braces has such a tag, and every other id is its own tag.
"""

from __future__ import annotations

from typing import Final

_ENCODED: Final = str.maketrans({"%": "%25", "{": "%7B", "}": "%7D"})


def user_key(user_id: str, name: str) -> str:
    """The key of `name` of a user."""
    if "{" in user_id or "}" in user_id:
        user_id = "{" + user_id.translate(_ENCODED)
    return f"tm:{{{user_id}}}:{name}"
