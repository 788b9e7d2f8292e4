"""Podman as root: a base image made on the spot, images, and KFP's DockerRunner over podman's socket.

Nothing here needs a registry or a Docker daemon.
"""

import os
import re
import resource
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker.client
import kfp.local.docker_task_handler
import pytest
import yaml
from kfp import local

ROOT = Path(__file__).parents[2]
BASE = "localhost/rlnas-test-base:bookworm"
IMAGE = "localhost/rlnas:test"
PROGRAMS = ("podman", "runc", "debootstrap", "iptables")
USER = "10001:10001"
FLAGS: dict[str, Any] = {
    "user": USER,
    "read_only": True,
    "tmpfs": {"/tmp": ""},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "mem_limit": "4g",
}
"""What every task's container is run with, as docker's client names it."""
GRACE = 30.0
"""Seconds that Kubernetes leaves a pod that is deleted."""


def why_not() -> str | None:
    """Say why containers cannot be run here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return f"needs {', '.join(missing)}: apt-get install {' '.join(missing)}"
    probe = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True, text=True)
    return f"needs namespaces: {probe.stderr.strip()}" if probe.returncode else None


MARKS = [
    pytest.mark.containers,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
    pytest.mark.filterwarnings("ignore:.*no effect in the current local runner"),
    pytest.mark.usefixtures("image"),
]
"""Of every module whose tests run containers."""


def podman(*arguments: str, check: bool = True, env: dict[str, str] | None = None) -> str:
    """Run podman and return what it prints, both streams; `env` is laid over this process's."""
    done = subprocess.run(
        ["podman", *arguments],
        env=os.environ | (env or {}),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0 or not check, f"podman {' '.join(arguments)}: {done.stdout}"
    return done.stdout.strip()


def configure(folder: Path) -> None:
    """Let podman run where the limits of this shell cannot be raised, and without systemd's journal."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    config = folder / "containers.conf"
    config.write_text(
        f'[containers]\ndefault_ulimits = ["nofile={soft}:{hard}", "nproc=4096:4096"]\n'
        '[engine]\nruntime = "runc"\nevents_logger = "file"\n'
    )
    os.environ["CONTAINERS_CONF"] = str(config)


def make_base() -> float:
    """Make the base image, Debian with Python, unless an earlier run left it; return the seconds it took."""
    start = time.monotonic()
    if subprocess.run(["podman", "image", "exists", BASE]).returncode == 0:
        return 0.0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        include = "--include=python3,python3-pip,python3-venv,ca-certificates"
        command = ["debootstrap", "--variant=minbase", include, "bookworm", str(root)]
        command += [mirror] if (mirror := os.environ.get("DEBIAN_MIRROR")) else []
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, f"debootstrap (DEBIAN_MIRROR names another mirror): {done.stdout[-2000:]}"
        for marker in (root / "usr/lib").glob("python3*/EXTERNALLY-MANAGED"):
            marker.unlink()
        certificates = Path("etc/ssl/certs/ca-certificates.crt")
        if ("/" / certificates).exists():
            shutil.copy("/" / certificates, root / certificates)  # some networks have an authority of their own
        for package in (root / "var/cache/apt/archives").glob("*.deb"):
            package.unlink()
        with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(["podman", "import", "--quiet", "-", BASE], stdin=tar.stdout, check=True)
    return time.monotonic() - start


def build(source: Path, image: str) -> tuple[float, str]:
    """Build the image as `make image` does; return the seconds and what the build said.

    `BUILD_FLAGS`, `PIP_CONFIG_FILE` and the like of the environment are passed on.
    """
    start = time.monotonic()
    flags = f"--pull=never --network=host {os.environ.get('BUILD_FLAGS', '')}"
    done = subprocess.run(
        [str(source / "images/build.sh")],
        env=os.environ | {"ENGINE": "podman", "BASE_IMAGE": BASE, "IMAGE": image, "BUILD_FLAGS": flags},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return time.monotonic() - start, done.stdout


def kill_container(name: str) -> None:
    """As a pod that vanishes, with its node or by force."""
    podman("kill", name, check=False)


def kill_processes(name: str) -> None:
    """As the kernel does when memory is short: the container's first process lives, the task's do not."""
    podman("exec", name, "sh", "-c", "kill -9 -1", check=False)


def tell_to_stop(name: str) -> None:
    """As a pod that is deleted with grace, where what started the task waits for it."""
    podman("exec", name, "sh", "-c", "kill -TERM -1", check=False)


def delete_with_grace(name: str) -> float:
    """As a pod that is deleted, where what started the task waits for it: told to stop, and killed after `GRACE`.

    Returns:
        The seconds that it took to end.
    """
    start = time.monotonic()
    tell_to_stop(name)
    while podman("ps", "--quiet", "--filter", f"name=^{name}$"):
        if time.monotonic() - start > GRACE:
            kill_container(name)
        time.sleep(0.1)
    return time.monotonic() - start


@contextmanager
def network(name: str) -> Iterator[str]:
    """A network without a way out."""
    podman("network", "create", "--internal", name)
    try:
        yield name
    finally:
        podman("network", "rm", "--force", name, check=False)


@contextmanager
def store(network: str, name: str, access_key: str, secret_key: str) -> Iterator[str]:
    """The store of the overlay `dev`, with its very command and rights; yields its endpoint."""
    documents = list(yaml.safe_load_all((ROOT / "manifests/components/store/store.yaml").read_text()))
    container = documents[0]["spec"]["template"]["spec"]["containers"][0]
    keys = {"accesskey": access_key, "secretkey": secret_key}
    env = {variable["name"]: keys[variable["valueFrom"]["secretKeyRef"]["key"]] for variable in container["env"]}
    arguments = ["run", "--detach", "--name", name, "--network", network, "--user", USER, "--read-only"]
    arguments += ["--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp", f"--volume={name}:/store:U"]
    for variable in env:
        arguments.append(f"--env={variable}")
    podman(*arguments, IMAGE, *container["command"], *container["args"], env=env)
    try:
        address = podman("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)
        yield f"http://{address}:8333"
    finally:
        podman("rm", "--force", "--volumes", name, check=False)
        podman("volume", "rm", "--force", name, check=False)


@contextmanager
def service(folder: Path) -> Iterator[None]:
    """Podman's answer to Docker's API, where Docker's client looks for it."""
    socket = folder / "podman.sock"
    process = subprocess.Popen(["podman", "system", "service", "--time=0", f"unix://{socket}"])
    try:
        deadline = time.monotonic() + 300
        while not socket.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.environ["DOCKER_HOST"] = f"unix://{socket}"
        docker.client.DEFAULT_TIMEOUT_SECONDS = 900  # for Kubeflow's runner; a busy machine is slow, not broken
        yield
    finally:
        os.environ.pop("DOCKER_HOST", None)
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class Task:
    """A container that has ended: the component, how it ended, what it wrote and how long it took."""

    component: str
    status: int
    log: str
    seconds: float


def summary(seconds: float, tasks: list[Task]) -> str:
    """Say in a line how long tasks took, all and each."""
    mean = sum(task.seconds for task in tasks) / len(tasks)
    return f"{seconds:.0f} s, {len(tasks)} containers of {mean:.1f} s"


@dataclass
class Runner:
    """Kubeflow's DockerRunner with `FLAGS`, and a record of what it ran.

    Args:
        network: of the containers.
        environment: of every task.
        root: folder for the artifacts; the one place beside /tmp that tasks can write to.
    """

    network: str
    environment: dict[str, str] = field(repr=False)
    root: Path
    tasks: list[Task] = field(default_factory=list)

    def run(self, pipeline: Callable[..., Any], **arguments: Any) -> float:
        """Run a pipeline or a component and return the seconds; raises RuntimeError if it failed."""
        self.root.mkdir(exist_ok=True)
        self.root.chmod(0o777)
        # As shipped it reports a task that fails as a success, because the container is gone before it is asked.
        kfp.local.docker_task_handler.run_docker_container = self._run_container
        runner = local.DockerRunner(network=self.network, environment=self.environment, **FLAGS)
        local.init(runner=runner, pipeline_root=str(self.root), enable_caching=False)
        start = time.monotonic()
        pipeline(**arguments)
        return time.monotonic() - start

    def disturb_first(self, component: str, said: str, disturb: Callable[[str], object]) -> threading.Thread:
        """Start to wait for the first container of a component to say something, and then disturb it, by its name."""

        def wait() -> None:
            deadline = time.monotonic() + 600
            while time.monotonic() < deadline:
                for name in podman("ps", "--filter", f"name=^{component}-", "--format", "{{.Names}}").split():
                    if said in podman("logs", name, check=False):
                        disturb(name)
                        return
                time.sleep(0.1)

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        return thread

    def _run_container(self, client: Any, image: str, command: list[str], volumes: Any, **arguments: Any) -> int:
        # The run's parameter for the image is not filled in locally.
        component = re.search(r"--function_to_execute\W+(\w+)", " ".join(command))
        assert component, command
        start = time.monotonic()
        container = client.containers.run(
            IMAGE,
            command,
            volumes=volumes,
            detach=True,
            name=f"{component[1]}-{time.monotonic_ns()}",
            **arguments,
        )
        status = container.wait(timeout=900)["StatusCode"]
        log = container.logs().decode()
        container.remove()
        self.tasks.append(Task(component[1], status, log, time.monotonic() - start))
        print(log, end="")
        return status
