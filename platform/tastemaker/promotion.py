"""Who may be champion: the gates, applied to the versions in the registry.

- `tastemaker train` and `tastemaker registry promote` ask every gate.
- A rollout asks them before it begins, but for the comparison with the champion: that is what it measures itself, live.
- A version that was champion before may be so again: going back must never be held up.
- `waive` lets a version through for a reason, which stays with it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from tastemaker.errors import Conflict, InvalidInput
from tastemaker.gates import Evidence, Gates, Verdict, compare, judge
from tastemaker.papers import Registered
from tastemaker.registry import CHAMPION, Registry

WAIVED = "gates_waived"
SERVED = "champion_at"


def verdicts(evidence: Evidence | None, champion: Registered | None, gates: Gates | None) -> list[Verdict]:
    """What the gates say of a version's evidence, beside that of the present `champion` if there is another."""
    if gates is None:
        return []
    if evidence is None:
        remedy = "Evaluate it: `tastemaker evaluate --model VERSION --record`"
        return [Verdict("report", False, "it has no evaluation report that gates can go by", remedy)]
    said = judge(evidence, gates)
    return said + compare(evidence, gates, champion.version, champion.evidence) if champion else said


def champion_beside(registry: Registry, version: str = "") -> Registered | None:
    """The present champion; None where there is none, or it is `version` itself.

    Raises:
        Unavailable: the registry does not answer.
    """
    champion = registry.registered(CHAMPION) if registry.has(CHAMPION) else None
    return champion if champion is not None and champion.version != version else None


def let_through(found: Registered) -> str:
    """Why gates are not asked about a version; empty where they are."""
    if WAIVED in found.tags:
        return f"waived: {found.tags[WAIVED]}"
    return f"champion before, on {found.tags[SERVED][:10]}" if SERVED in found.tags else ""


def check(registry: Registry, version: str, *, live: bool = False) -> None:
    """Refuse a version that may not be champion.

    Args:
        live: it is to be compared with the champion by a rollout.

    Raises:
        Conflict: a gate fails; the message has its figure, its threshold and what to do.
        NotFound: there is no such version.
    """
    found = registry.registered(version)
    if let_through(found):
        return
    champion = None if live else champion_beside(registry, found.version)
    failed = [verdict for verdict in verdicts(found.evidence, champion, registry.settings.gates) if verdict.failed]
    if failed:
        force = f"registry waive {found.version} REASON" if live else f"registry promote {found.version} --force REASON"
        raise Conflict(
            f"version {found.version} may not be {CHAMPION}: "
            + "; ".join(f"gate {verdict.gate}: {verdict.finding}" for verdict in failed),
            f"{failed[0].remedy.replace('VERSION', found.version)}. Or let it through: `tastemaker {force}`",
        )


def promote(registry: Registry, version: str) -> None:
    """Make a version the champion.

    Raises:
        Conflict: a gate fails.
        NotFound: there is no such version.
    """
    check(registry, version)
    crown(registry, version)


def crown(registry: Registry, version: str) -> None:
    """Make a version the champion that was checked before, and note it with both. May be repeated."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    replaced = champion_beside(registry, version)
    if replaced is not None and SERVED not in replaced.tags:
        registry.tag(replaced.version, SERVED, now)
    registry.point(version, CHAMPION)
    registry.tag(version, SERVED, now)


def waive(registry: Registry, version: str, reason: str) -> None:
    """Let a version through every gate, for a reason that stays with it.

    Raises:
        InvalidInput: no reason is given.
        NotFound: there is no such version.
    """
    if not reason.strip():
        raise InvalidInput("a version passes gates for a reason only", "Say why: people will ask")
    registry.tag(registry.registered(version).version, WAIVED, reason.strip())
