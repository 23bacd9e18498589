"""The story that `canary demo` tells: a good release, then a bad one.

A developer commits a new image; the GitOps engine delivers it; the operator shifts traffic, judges and promotes, or rolls back and takes the
image back in Git. The story only commits and watches. Its verdict on itself: each scenario must end as it should, with a record in Git, and the
bad one with a revert after which the cluster rests.
"""

from __future__ import annotations

from collections.abc import Sequence

from canary.sandbox.account import OUTCOMES, Account, Happening
from canary.sandbox.deployment import deployment
from canary.sandbox.gitsync import Developer, GitSync
from canary.sandbox.stage import APP, Stage
from canary.sandbox.telling import Telling
from canary.sandbox.witness import QUIET, Witness, tag

DEPLOYMENT = f"apps/{APP}/deployment.yaml"
"""The one file that names the version."""


class Story(Telling):
    """Tells itself on one stage."""

    def __init__(self, stage: Stage, manifest: str, *, deadline: float) -> None:
        super().__init__(stage, deadline=deadline)
        self._stage = stage
        self._witness = Witness(stage, self)
        self._manifest = manifest

    @property
    def good(self) -> bool:
        """Both scenarios ended as they should."""
        accounts = self._witness.accounts
        return len(accounts) == 2 and all(account.as_it_should for account in accounts)

    @property
    def scenes(self) -> Sequence[str]:
        """The start, both releases, and the end."""
        return ("start", "good release", "bad release", "rest")

    @property
    def now(self) -> Witness:
        """There is one cluster."""
        return self._witness

    def _summary(self) -> Happening:
        return {"runs": [account.summary() for account in self._witness.accounts]}

    def _state(self) -> str:
        return f"phase {self._witness.phase or 'none'}"

    async def _plot(self) -> None:
        stage, cast = self._stage, self._stage.cast
        self._witness.watch()
        url, sync = await stage.deliver({DEPLOYMENT: deployment(cast.first), **stage.adapt(self._manifest)})
        self.say("git", text="the first version", commit=await self.in_time(sync.sync(), "nothing is applied"))
        await self._witness.comes_up()
        developer = Developer(url, stage.folder)
        good = await self._release(developer, "good", cast.good, deployment(cast.good))
        good.converged = good.outcome == OUTCOMES["good"] and await self._witness.rests(sync, cast.good, quiet=0.0)
        if not good.as_it_should:
            return
        bad = await self._release(developer, "bad", cast.bad, deployment(cast.bad, cast.bad_env), sync)
        if bad.revert is None:
            return
        if cast.bad_env:
            commit = await developer.write(DEPLOYMENT, deployment(cast.good), message=f"{APP}: without what {tag(cast.bad)} had needed")
            self.say("git", text="the developer takes the environment variables back, too", commit=commit)
            sync.resume()
        bad.converged = await self._witness.rests(sync, cast.good, quiet=QUIET)

    async def _release(self, developer: Developer, scenario: str, image: str, text: str, sync: GitSync | None = None) -> Account:
        """Commit, and watch until the release has ended and Git knows. With environment variables, `sync` waits from then on.

        Git takes images back and nothing else: variables that came with the image would be another new version.
        """
        account = await self._witness.begin(scenario, image)
        commit = await developer.write(DEPLOYMENT, text, message=f"{APP} {tag(image)}")
        self.say("release", scenario=scenario, image=image, commit=commit)
        if sync is not None and self._stage.cast.bad_env:
            await self.until(lambda: sync.applied == commit, "the release is not applied")
            sync.suspend()
        await self._witness.end(account)
        return account
