"""`canary demo`: the main job, from nothing, in a minute; or on a cluster."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from canary.cli.goflags import Decorator
from canary.core.errors import Rejected

if TYPE_CHECKING:
    from canary.sandbox.show import Show
    from canary.sandbox.stage import Stage
    from canary.sandbox.survey import Options, Survey
    from canary.sandbox.telling import Telling

MESHES = ("gatewayapi:v1", "contour", "istio")
IMAGE = "ghcr.io/stefanprodan/podinfo"
BAD_IMAGE = f"{IMAGE}:6.0.2"
BAD_ENV = {"PODINFO_RANDOM_ERROR": "true"}
"""Makes one request in three fail."""
_NAME = re.compile(r"[\w./:@-]+")
_CLUSTER: list[str] = []
"""Names of the parameters that mean something with --cluster only."""


def _cluster_option(name: str, *more: str, **settings: Any) -> Decorator:
    _CLUSTER.append(name.lstrip("-").replace("-", "_"))
    return click.option(name, *more, **{**settings, "help": f"With --cluster: {settings['help']}"})


def _pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:  # noqa: ARG001
    """KEY=VALUE, repeated."""
    found = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            raise click.BadParameter(f"{text!r} is not KEY=VALUE")
        found[key] = value
    return found


def _image(ctx: click.Context, param: click.Parameter, value: str) -> str:  # noqa: ARG001
    if not _NAME.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not the name of an image")
    return value


@click.command()
@click.option("--headless", is_flag=True, help="No terminal view: one line for each thing that happens.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, ending with a summary.")
@click.option("--interval", help="Replaces the manifest's `analysis.interval`. [default: 1s; with --cluster the manifest's own]")
@click.option(
    "--manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Another Canary of podinfo in namespace prod."
)
@click.option(
    "--deadline", type=float, help="Seconds after which the story counts as stuck. [default: 240; with --rings 480; with --cluster 1800]"
)
@click.option(
    "--rings", is_flag=True, help="Three clusters in three rings instead of one: the good release walks, the bad one stops in the first."
)
@click.option("--cluster", is_flag=True, help="Tell the story on the cluster of the current kubeconfig instead, in a namespace of its own.")
@_cluster_option("--yes", "-y", is_flag=True, help="do not ask before changing it.")
@_cluster_option("--kubeconfig", default="", help="path of a kubeconfig.")
@_cluster_option("--context", default="", help="context of the kubeconfig.")
@_cluster_option("--mesh-provider", type=click.Choice(MESHES), default=MESHES[0], show_default=True, help="what shifts the traffic.")
@_cluster_option("--gateway", default="", help="NAMESPACE/NAME of the Gateway; the only one there is, when left out.")
@_cluster_option(
    "--address", default="", help="URL where the mesh listens, as reached from here; from the Gateway's status, when left out."
)
@_cluster_option("--host", default="podinfo.example", show_default=True, help="host name by which users ask for podinfo.")
@_cluster_option("--metrics-server", default="", help="URL of Prometheus, as the operator reaches it. [default: http://127.0.0.1:9090]")
@_cluster_option("--git-host", default="", help="address of this machine, as an operator in the cluster reaches it.")
@_cluster_option("--first-image", default=f"{IMAGE}:6.0.0", show_default=True, callback=_image, help="what runs before.")
@_cluster_option("--good-image", default=f"{IMAGE}:6.0.1", show_default=True, callback=_image, help="the good release.")
@_cluster_option("--bad-image", default=BAD_IMAGE, show_default=True, callback=_image, help="the bad release.")
@_cluster_option(
    "--bad-env", multiple=True, callback=_pairs, metavar="KEY=VALUE",
    help="environment variable of the bad release; may be repeated. [default: PODINFO_RANDOM_ERROR=true, unless --bad-image is given]",
)  # fmt: skip
@click.pass_context
def demo(ctx: click.Context, /, **flags: Any) -> None:
    """Release a good version, then a bad one, of the podinfo Canary that somebody wrote in 2020.

    A real Envoy carries the traffic, a real Prometheus measures it, a Git server keeps the outcome; the API server and the pods are part of
    this program, and nothing is left of them. Exit code 0 only when the good one was promoted without a failed request, and the bad one
    rolled back and reverted in Git.
    """
    from canary.sandbox.manifest import prepared
    from canary.sandbox.show import perform

    cluster = flags["cluster"]
    _check(ctx, cluster=cluster, rings=flags["rings"])
    interval = flags["interval"] if flags["interval"] is not None else "" if cluster else "1s"
    text = prepared(_read(flags["manifest"] or seed()), interval=interval)
    story = _rings(flags, text) if flags["rings"] else _story(flags, text)
    if story is not None:
        sys.exit(asyncio.run(perform(story, _show(headless=flags["headless"], as_json=flags["as_json"]))))


def seed() -> Path:
    """The manifest of 2020: shipped inside the wheel, or in `examples/` of a checkout."""
    package = Path(__file__).resolve().parent.parent
    shipped = package / "sandbox" / "podinfo-2020.yaml"
    return shipped if shipped.exists() else package.parent / "examples" / "podinfo-2020.yaml"


def _check(ctx: click.Context, *, cluster: bool, rings: bool) -> None:
    if cluster and rings:
        raise click.UsageError("--rings has clusters of its own: leave out --cluster", ctx)
    for name in _CLUSTER:
        if not cluster and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} goes with --cluster", ctx)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Rejected(f"{path} is not UTF-8 text") from error


def _show(*, headless: bool, as_json: bool) -> Show:
    """Lines for programs, logs and terminals that cannot move their cursor; else the view."""
    if headless or as_json or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        from canary.sandbox.show import LineShow

        return LineShow(as_json=as_json)
    from canary.sandbox.terminal import TerminalShow

    return TerminalShow()


def _story(flags: Mapping[str, Any], text: str) -> Telling | None:
    """The story on one cluster; None when its owner has not agreed."""
    from canary.sandbox.story import Story

    stage = _cluster(flags) if flags["cluster"] else _sandbox()
    return Story(stage, text, deadline=flags["deadline"] or (1800.0 if flags["cluster"] else 240.0)) if stage else None


def _rings(flags: Mapping[str, Any], text: str) -> Telling:
    from canary.sandbox import programs
    from canary.sandbox.fleet import Fleet
    from canary.sandbox.ringstory import RingStory

    return RingStory(Fleet(programs.find()), text, deadline=flags["deadline"] or 480.0)


def _sandbox() -> Stage:
    from canary.sandbox import programs
    from canary.sandbox.world import World

    return World(programs.find())


def _cluster(flags: Mapping[str, Any]) -> Stage | None:
    """The cluster as a stage, once its owner has agreed; None when he has not."""
    from canary.sandbox import programs
    from canary.sandbox.onecluster import OneCluster
    from canary.sandbox.stage import Cast
    from canary.sandbox.survey import Options

    names = ("kubeconfig", "context", "mesh_provider", "metrics_server", "gateway", "host", "address", "git_host")
    bad_env = flags["bad_env"] or (BAD_ENV if flags["bad_image"] == BAD_IMAGE else {})
    cast = Cast(flags["first_image"], flags["good_image"], flags["bad_image"], bad_env)
    options = Options(cast=cast, **{name: flags[name] for name in names})
    git_version = programs.git()
    found = asyncio.run(_survey(options))
    if not flags["yes"] and not _agreed(found):
        return None
    return OneCluster(found, options, git_version=git_version)


async def _survey(options: Options) -> Survey:
    from canary.kube import auth
    from canary.kube.client import ApiClient
    from canary.sandbox.survey import survey

    client = ApiClient(auth.load(kubeconfig=options.kubeconfig, context=options.context))
    try:
        return await survey(client, options)
    finally:
        await client.close()


def _agreed(found: Survey) -> bool:
    """Whether the person at the terminal says yes. Raises UsageError without a terminal."""
    click.echo(f"On {found.server} (Kubernetes {found.version}) the demo will", err=True)
    for intention in found.intentions():
        click.echo(f"  - {intention}", err=True)
    if not sys.stdin.isatty():
        raise click.UsageError("there is nobody to ask: pass --yes")
    return click.confirm("Go on?", err=True)
