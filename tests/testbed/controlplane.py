"""The command lines of the control plane's programs, and why each unusual flag is there.

Ports are fixed because the network namespace is ours alone. Two more cores would not make it start faster: most of the 3 s of the API
server is its own post-start hooks.
"""

from dataclasses import dataclass
from pathlib import Path

from tests.testbed import netns, tools
from tests.testbed.certificates import Authority, KeyPair

API_HOST, API_PORT = "localhost", 6443
_ETCD = "http://127.0.0.1:2379"
STAGES = Path(__file__).with_name("kwok-stages.yaml")


@dataclass(frozen=True)
class Keys:
    """All secrets of one cluster, as files in its folder."""

    authority: Authority
    serving: KeyPair
    accounts: KeyPair
    tokens: Path
    admin_token: str


def etcd(folder: Path) -> list[str | Path]:
    """No fsync: nobody will ever read these data again."""
    return [
        tools.find("etcd"), f"--data-dir={folder / 'etcd'}", f"--listen-client-urls={_ETCD}", f"--advertise-client-urls={_ETCD}",
        "--listen-peer-urls=http://127.0.0.1:2380", "--unsafe-no-fsync", "--log-level=warn", "--quota-backend-bytes=4294967296",
    ]  # fmt: skip


def apiserver(keys: Keys) -> list[str | Path]:
    """RBAC, tokens of service accounts, client certificates.

    The address is advertised by hand and the endpoint reconciler is off because the namespace has no default route to guess from.
    """
    return [
        tools.find("kube-apiserver"), f"--etcd-servers={_ETCD}", "--bind-address=127.0.0.1", f"--secure-port={API_PORT}",
        f"--advertise-address={netns.HOST_ADDRESS}", "--external-hostname=localhost", "--endpoint-reconciler-type=none",
        f"--tls-cert-file={keys.serving.certificate}", f"--tls-private-key-file={keys.serving.key}",
        f"--client-ca-file={keys.authority.root.certificate}", f"--token-auth-file={keys.tokens}", "--authorization-mode=RBAC",
        f"--service-account-key-file={keys.accounts.certificate}", f"--service-account-signing-key-file={keys.accounts.key}",
        "--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged",
        "--max-requests-inflight=1000",
    ]  # fmt: skip


def controller_manager(keys: Keys, *, kubeconfig: Path, folder: Path) -> list[str | Path]:
    """Without leader election; rates high enough that the manager is never what a benchmark measures, workers as many as it has by default: four times
    as many take a tenth more of the processors, because they come in each other's way, and are no faster.

    Nothing here reads the deprecated Endpoints, and keeping them is a tenth of all writes of a fleet's release.
    """
    return [
        tools.find("kube-controller-manager"), *_common(kubeconfig, folder),
        f"--service-account-private-key-file={keys.accounts.key}", f"--root-ca-file={keys.authority.root.certificate}",
        "--controllers=*,-endpoints-controller,-endpointslice-mirroring-controller",
    ]  # fmt: skip


def scheduler(*, kubeconfig: Path, folder: Path) -> list[str | Path]:
    """Without leader election."""
    return [tools.find("kube-scheduler"), *_common(kubeconfig, folder)]


def kwok(*, kubeconfig: Path) -> list[str | Path]:
    """The kubelet of every node. As a bare program it knows no pod stages, so ours are given; pods get addresses that are local here."""
    return [
        tools.find("kwok"), f"--kubeconfig={kubeconfig}", "--manage-all-nodes", f"--config={STAGES}", f"--cidr={netns.POD_RANGE}",
        f"--node-ip={netns.HOST_ADDRESS}", "--node-lease-duration-seconds=40", "--server-address=127.0.0.1:10247",
    ]  # fmt: skip


def node(name: str) -> dict[str, object]:
    """A Node that can hold a fleet."""
    size = {"cpu": "64", "memory": "256Gi", "pods": "2000"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"allocatable": size, "capacity": size}}


ENVIRONMENT = {"GOGC": "400", "GOMEMLIMIT": "1GiB"}
"""Of every program here: with the defaults a sixth of the API server's time is garbage collection. Several control planes share a machine.

Twice that (and 4 GiB) for a benchmark that has the machine alone was tried: less collection, and as much time in all.
"""


def _common(kubeconfig: Path, folder: Path) -> list[str]:
    return [
        f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--authentication-skip-lookup", "--bind-address=127.0.0.1",
        f"--cert-dir={folder}", "--kube-api-qps=500", "--kube-api-burst=1000",
    ]  # fmt: skip
