"""What scenes say in vain. The edge makes some lists itself, from memory, and these do not go by all of their scene."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from tastemaker import scenes
from tastemaker.scenes import SEARCH, SIMILAR, TRENDING, Boost, Scene, Scenes


class List(NamedTuple):
    """A call that is answered with a list of the edge's own."""

    call: str
    for_a_user: bool
    """Whether it may name a user, for whom the models put the list in order."""


LISTS: Final = {
    SIMILAR: List("GET /v1/items/{item_id}/similar", for_a_user=True),
    SEARCH: List("POST /v1/search", for_a_user=True),
    TRENDING: List("GET /v1/trending", for_a_user=False),
}
"""By scene. All of them go by its caps, bans and pins."""
ORDER: Final = ("model", "personal", "diversity", "freshness", "boosts")
"""What they go by only where the models put them in order."""
NEVER: Final = ("sources", "cache_ttl_s", "repetition", "explore", "item_life_h")


def unheeded(declared: Scenes, cache_ttl_s: int) -> Iterator[str]:
    """A sentence for whatever an installation declares, other than the packaged scenes do, and nothing goes by.

    Args:
        cache_ttl_s: `edge.cache_ttl_s`.
    """
    packaged = scenes.packaged()
    for name, (call, for_a_user) in LISTS.items():
        own = [field for field in (*ORDER, *NEVER) if _said(declared[name], field) != _said(packaged[name], field)]
        never = [field for field in own if field in NEVER or not for_a_user]
        if never:
            yield (
                f"{call} does not go by {', '.join(never)} of the scene {name!r}; "
                f"only /v1/users/{{user_id}}/recommendations?scene={name} does"
            )
        sometimes = [field for field in own if field not in never]
        if sometimes:
            yield f"{call} goes by {', '.join(sometimes)} of the scene {name!r} only for a `user_id`"
    for name in declared:
        scene = declared[name]
        if scene.repetition.discount and not scene.life_s(cache_ttl_s):
            yield (
                f"repetition of the scene {name!r} does nothing: what was shown is remembered beside cached slates, "
                "and it has none (cache_ttl_s is 0)"
            )


def _said(scene: Scene, field: str) -> object:
    return [rule for rule in scene.rules if isinstance(rule, Boost)] if field == "boosts" else getattr(scene, field)
