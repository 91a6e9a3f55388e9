"""Where a benchmark works and how it starts a process: interpreters, folders, environment, limits."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import workload
from measure import Outcome, watched

Mode = Literal["full", "quick", "trial"]
REPOSITORY = Path(__file__).resolve().parent.parent
_UNEQUAL = ("OPENBLAS_", "OMP_", "MKL_", "SPARK_", "MLFLOW_")
_ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}


class PartFailed(Exception):
    """A part did not come to its end; the message is the last thing its process said."""


class NotHere(Exception):
    """A peer's environment is not installed."""


@dataclass(frozen=True)
class Bench:
    """One benchmark: `work` holds generated data and results, `interpreters` are named own, peers and replay."""

    work: Path
    interpreters: dict[str, Path]
    mode: Mode

    @property
    def small(self) -> str:
        return "XS" if self.mode == "trial" else "S"

    @property
    def large(self) -> str:
        return "L" if self.mode == "full" else self.small

    def pick(self, full: int, quick: int) -> int:
        """A number that depends on the mode."""
        return full if self.mode == "full" else quick

    @property
    def checked(self) -> int:
        """Users whose lists are compared with brute force."""
        return self.pick(5_000, 1_000)

    @property
    def timed(self) -> int:
        """Users of a quick kernel; slow ones take fewer."""
        return self.pick(32_768, 8_192)

    @property
    def results(self) -> Path:
        return self.work / f"results-{self.mode}"

    def python(self, environment: str) -> Path:
        return self.interpreters[environment]

    def workload(self, size: str, kinds: tuple[str, ...] = ("als",)) -> Path:
        return workload.make(self.work, size, peer_python=str(self.python("peers")), kinds=kinds)

    def scratch(self, name: str) -> Path:
        """An empty folder."""
        folder = self.work / "scratch" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def peer(
        self,
        module: str,
        environment: str,
        folder: Path,
        out: Path,
        *,
        limit: float,
        users: int = 0,
        passes: int = 1,
        variant: str = "",
        cores: int = 2,
    ) -> Outcome:
        """Run `python -m peers.MODULE` on a workload and wait for it."""
        options = {"users": users, "passes": passes, "variant": variant, "cores": cores}
        given = [f"--{name}={value}" for name, value in options.items() if value]
        return self._run(["-m", f"peers.{module}", folder, out, *given], environment, out, limit=limit)

    def step(self, file: str, environment: str, arguments: Sequence[object], *, one_thread: bool = False) -> Outcome:
        """Run one of the files beside this one."""
        command = [REPOSITORY / "benchmarks" / file, *arguments]
        return self._run(command, environment, self.work / "scratch", limit=600, one_thread=one_thread)

    def _run(
        self, arguments: Sequence[object], environment: str, folder: Path, *, limit: float, one_thread: bool = False
    ) -> Outcome:
        python = self.python(environment)
        if not python.exists():
            raise NotHere(f"no environment: make bench installs it ({environment})")
        # the caller's threads, Spark and MLflow settings would make peers unlike each other
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_UNEQUAL)}
        kept["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY / "benchmarks"), str(REPOSITORY / "src")])
        kept |= {"PYSPARK_PYTHON": str(python), "PYSPARK_DRIVER_PYTHON": str(python), "SPARK_LOCAL_IP": "127.0.0.1"}
        kept |= _ONE_THREAD if one_thread else {}
        command = [str(python), *map(str, arguments)]
        outcome = watched(command, environment=kept, folder=folder, limit=limit)
        if outcome.error:
            raise PartFailed(outcome.error)
        return outcome
