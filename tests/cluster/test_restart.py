"""The operator is killed, without a chance to tidy up, in every phase; the next one goes on where it was."""

from __future__ import annotations

from tests.cluster.stand_ins import Answers, Cluster, Do, Edges, Kubelet, OperatorFork

from tastemaker.config import Settings
from tastemaker.registry import Registry


def test_killed_in_every_phase_on_the_way_to_completed(
    cluster: Cluster, fork: OperatorFork, kubelet: Kubelet, edges: Edges, answers: Answers, settings: Settings
) -> None:
    kubelet.held = {"1", "2"}
    edges.silent = True
    cluster.recommender(drain="4s")

    def killed_in(phase: str, let_go: Do = int, kind: str = "ModelRollout", name: str = "second") -> None:
        cluster.until_phase(name, phase, kind, timeout_s=90)
        fork.kill()
        let_go()
        fork.start()

    fork.start()
    killed_in("Starting", lambda: kubelet.held.discard("1"), "Recommender", "tastemaker")
    cluster.until_phase("tastemaker", "Ready", "Recommender", timeout_s=90)

    answers.code = 503
    steps = [{"weight": 10, "duration": "1s"}, {"weight": 100, "duration": "1s"}]
    cluster.rollout("second", steps=steps)
    killed_in("Preparing", lambda: kubelet.held.discard("2"))
    killed_in("Warming", lambda: setattr(answers, "code", 200))
    killed_in("Shadow", lambda: cluster.change("ModelRollout", "second", action="Pause"))
    killed_in("Paused", lambda: cluster.change("ModelRollout", "second", action="Run"))
    edges.silent = False
    cluster.until_phase("second", "Progressing", timeout_s=90)
    edges.silent = True
    killed_in("Progressing", lambda: setattr(edges, "silent", False))
    killed_in("Promoting")
    status = cluster.until_phase("second", "Completed", timeout_s=90)

    history = [(step["phase"], step["step"]) for step in status["history"]]
    assert len(history) == len(set(map(str, status["history"]))), "nothing is told twice"
    walked = [phase for phase, _ in history]
    assert walked[:5] == ["Preparing", "Warming", "Shadow", "Paused", "Shadow"]
    assert walked[-1] == "Completed"
    assert [entry for entry in history if entry[0] == "Progressing"] == [("Progressing", 0), ("Progressing", 1)]
    cluster.until("the old colour is gone", lambda: cluster.colours() == {"green": "2"})
    assert Registry(settings).resolve("champion").version == "2"


def test_killed_while_it_rolls_back(cluster: Cluster, fork: OperatorFork, edges: Edges) -> None:
    edges.silent = True
    cluster.recommender(drain="4s")
    fork.start()
    cluster.until_phase("tastemaker", "Ready", "Recommender", timeout_s=90)
    cluster.rollout("bad", shadow={"enabled": False})
    cluster.until_phase("bad", "Progressing")
    cluster.change("ModelRollout", "bad", action="Abort")
    cluster.until_phase("bad", "RollingBack")
    fork.kill()
    fork.start()
    cluster.until_phase("bad", "RolledBack", timeout_s=90)
    cluster.until("its colour is gone", lambda: cluster.colours() == {"blue": "1"})
    cluster.until_phase("tastemaker", "Ready", "Recommender")
