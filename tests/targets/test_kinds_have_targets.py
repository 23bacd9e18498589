"""An unknown kind of target is one clear error, never a default."""

import pytest

from canary.api.canary import TargetRef
from canary.core.errors import Rejected
from canary.targets import registry
from canary.targets.deployment import DeploymentTarget


def ref(kind: str, api_version: str = "apps/v1") -> TargetRef:
    return TargetRef(api_version=api_version, kind=kind, name="podinfo")


def test_a_deployment_has_one_target_for_all_canaries():
    found = registry.target(ref("Deployment"))
    assert isinstance(found, DeploymentTarget)
    assert registry.target(ref("Deployment")) is found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (ref("DaemonSet"), "spec.targetRef: DaemonSet is not supported yet"),
        (ref("Service", "v1"), "spec.targetRef: core Service is not supported yet"),
        (ref("Service", "serving.knative.dev/v1"), "spec.targetRef: Knative Service is not supported yet"),
        (ref("StatefulSet"), "spec.targetRef: kind 'StatefulSet' is not known"),
        (ref("deployment"), "spec.targetRef: kind 'deployment' is not known"),
    ],
)
def test_another_kind_is_refused_with_a_hint(given: TargetRef, message: str):
    with pytest.raises(Rejected) as caught:
        registry.target(given)
    assert caught.value.message == message
    assert caught.value.hint == "use a target of kind Deployment"
