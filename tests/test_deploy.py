"""deploy/: each file is valid and agrees with what it configures and with the other files. `tests/cluster` runs it."""

import re
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.instance.ref import InstanceRef
from sqlalchemy.exc import OperationalError

from personahub_assets.core.config import Environment
from personahub_assets.core.errors import ConfigError
from personahub_assets.dedup import signatures
from personahub_assets.defs.executors import RAY_ADDRESS, executor_named
from personahub_assets.instance.faults import explain
from personahub_assets.instance.shared import refuse_second_daemon, shared_folder

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
SECRET = re.compile(r"PASSWORD|TOKEN|KEY")


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def pinned(package: str, file: str = "constraints.txt") -> str:
    match = re.search(rf"^{package}==([\w.]+)", (ROOT / file).read_text(), re.MULTILINE)
    assert match
    return match[1]


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """All mappings of a tree."""
    if isinstance(tree, dict):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from nodes(child)


def env_files() -> dict[str, dict[str, str]]:
    """Names and values of the files of secrets."""
    return {
        path.name: dict(line.split("=", 1) for line in path.read_text().splitlines() if line and line[0] != "#")
        for path in (DEPLOY / "secrets.example").iterdir()
    }


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_file_can_be_read_and_holds_no_secret(path: Path) -> None:
    trees = list(yaml.safe_load_all(path.read_text()))
    for node in (node for tree in trees for node in nodes(tree)):
        assert not any(SECRET.search(key) and isinstance(value, str) and value for key, value in node.items()), node
        assert not (SECRET.search(str(node.get("name"))) and "value" in node), node
        assert node.get("kind") != "Secret" or not any(node["stringData"].values())
    assert "://me:" not in path.read_text()


# --- the instance ---


@pytest.fixture(params=["dagster.yaml", "dagster-ray.yaml"])
def instance_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / "dagster.yaml").write_text((DEPLOY / request.param).read_text())
    return tmp_path


def test_dagster_accepts_the_settings_of_the_instance(instance_file: Path) -> None:
    reference = InstanceRef.from_dir(str(instance_file))
    assert reference.storage_data
    assert reference.storage_data.class_name == "DagsterPostgresStorage"
    settings = yaml.safe_load((instance_file / "dagster.yaml").read_text())
    assert settings["concurrency"]["pools"] == {"default_limit": 1, "granularity": "op"}
    assert settings["run_monitoring"]["enabled"]
    assert settings["run_monitoring"]["max_resume_run_attempts"] == 0
    assert settings["run_retries"] == {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False}


def test_both_instances_differ_in_the_launcher_alone() -> None:
    plain, ray = (documents(name)[0] for name in ("dagster.yaml", "dagster-ray.yaml"))
    assert plain.pop("run_launcher") == {"module": "dagster", "class": "DefaultRunLauncher"}
    launcher = ray.pop("run_launcher")
    assert plain == ray
    assert "env_vars" not in launcher["config"]["ray"]  # the dashboard would show their values


def test_only_an_instance_with_a_storage_is_shared(instance_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("", str(instance_file / "missing")):
        monkeypatch.setenv("DAGSTER_HOME", name)
        assert shared_folder() is None
    monkeypatch.setenv("DAGSTER_HOME", str(instance_file))
    assert shared_folder() == instance_file
    with pytest.raises(ConfigError, match="Unset DAGSTER_HOME"):
        refuse_second_daemon()
    (instance_file / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    assert shared_folder() is None
    refuse_second_daemon()
    (instance_file / "dagster.yaml").write_text("storage: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        shared_folder()


def test_a_storage_that_is_lost_during_a_command_is_named(
    instance_file: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    lost = OperationalError("SELECT 1", None, Exception("server closed the connection"))
    monkeypatch.setenv("DAGSTER_HOME", str(instance_file))
    monkeypatch.setenv("POSTGRES_PASSWORD", "server closed")
    assert f"instance {instance_file} cannot be used: (builtins.Exception) *** the connection" in explain(lost, home)
    monkeypatch.setenv("DAGSTER_HOME", "")
    assert str(home / "dagster" / "history") in explain(lost, home)


# --- docker compose ---


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(documents("docker-compose.yaml")[0]["services"])


def test_every_service_is_pinned_waits_for_healthy_ones_and_takes_known_secrets(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert re.search(r":v?\d+\.\d+", service["image"]), name
        assert "healthcheck" in service or name == "migrate"
        for other, condition in service.get("depends_on", {}).items():
            assert condition["condition"] == (
                "service_completed_successfully" if other == "migrate" else "service_healthy"
            )
            assert "healthcheck" in services[other] or other == "migrate"
        assert {Path(file).name for file in service["env_file"]} <= set(env_files())
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert not any(value for names in env_files().values() for value in names.values())
    assert services["vllm"]["image"].endswith(
        re.findall(r"^version=(.+)", (ROOT / "scripts/vllm-env.sh").read_text(), re.MULTILINE)[0]
    )
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert services["worker"]["image"] == f"personahub:{version}"


def test_all_variables_are_set_where_they_are_used(services: dict[str, Any]) -> None:
    text = (DEPLOY / "dagster-ray.yaml").read_text()
    needed = {*re.findall(r"env: (\w+)", text), RAY_ADDRESS, "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"}
    files = env_files()
    for name in ("code-location", "webserver", "daemon", "ray-head", "worker"):
        service = services[name]
        secrets = {key for file in service["env_file"] for key in files[Path(file).name]}
        assert needed <= {*service["environment"], *secrets}
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        _check_names({*service["environment"], *secrets})
    assert set(files["vllm.env"]) == {"VLLM_API_KEY", "HF_TOKEN"}


def _check_names(names: set[str]) -> None:
    valid = {f"PERSONAHUB_{name.upper()}" for name in Environment.model_fields}
    assert {name for name in names if name.startswith("PERSONAHUB_")} <= valid


def test_the_image_gets_the_files_that_it_needs_and_no_others() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines
    assert all((ROOT / name).exists() for name in allowed)
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    for name in re.findall(r"(?:cp|python) ([\w/.-]+\.(?:yaml|py))|COPY (constraints.txt)", dockerfile):
        assert any((name[0] or name[1]).startswith(prefix) for prefix in allowed)
    assert "--require-hashes" in dockerfile
    assert "USER personahub" in dockerfile
    # A user who cannot write the folder of the kernels would compile them again in each container.
    kernels = Path(signatures.__file__).parent.relative_to(ROOT) / "__pycache__"
    assert re.search(rf"chown -R personahub .*{kernels}", dockerfile)


# --- Kubernetes ---


def test_a_run_has_one_pod_and_the_instance_is_that_of_compose() -> None:
    (values,) = documents("kubernetes/dagster-values.yaml")
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    assert launcher["jobSpecConfig"]["backoffLimit"] == 0
    pod = launcher["podSpecConfig"]
    assert pod["restartPolicy"] == "Never"
    (user,) = re.findall(r"useradd --uid (\d+)", (DEPLOY / "Dockerfile").read_text())
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    group = {"fsGroup": int(user)}
    ray = documents("kubernetes/raycluster.yaml")[0]["spec"]["headGroupSpec"]["template"]["spec"]
    assert pod["securityContext"] == deployment["podSecurityContext"] == ray["securityContext"] == group
    settings = documents("dagster.yaml")[0]
    assert _snake(values["concurrency"]["pools"]) == settings["concurrency"]["pools"]
    for name in ("runMonitoring", "runRetries"):
        assert _snake(values["dagsterDaemon"][name]).keys() == settings["_".join(_words(name))].keys()
    assert _snake(values["dagsterDaemon"]["runRetries"]) == settings["run_retries"]
    assert values["postgresql"]["postgresqlScheme"] == settings["storage"]["postgres"]["postgres_db"]["scheme"]
    text = (DEPLOY / "kubernetes/dagster-values.yaml").read_text()
    assert f"--version {pinned('dagster')}" in text
    _check_names({each["name"] for each in deployment["env"]})
    assert values["dagsterWebserver"]["service"]["type"] == "ClusterIP"


def _snake(values: dict[str, Any]) -> dict[str, Any]:
    return {"_".join(_words(name)): value for name, value in values.items()}


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+", name)]


def test_the_chart_with_ray_sends_jobs_with_the_token() -> None:
    (values,) = documents("kubernetes/dagster-values-ray.yaml")
    launcher = values["runLauncher"]["config"]["customRunLauncher"]
    plain = documents("dagster-ray.yaml")[0]["run_launcher"]
    assert {**launcher, "config": None} == {**plain, "config": None}
    assert launcher["config"]["ray"].keys() == plain["config"]["ray"].keys()
    assert {each["name"] for each in values["dagsterDaemon"]["env"]} == {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN"}


def test_nodes_of_the_ray_cluster_want_a_token_and_have_all_variables() -> None:
    cluster, policy = documents("kubernetes/raycluster.yaml")
    secrets = {each["metadata"]["name"]: each["stringData"] for each in documents("kubernetes/secrets.example.yaml")}
    spec = cluster["spec"]
    assert spec["rayVersion"] == pinned("ray", "constraints-cluster.txt")
    assert spec["authOptions"] == {"mode": "token", "secretName": "personahub-ray-token"}
    needed = set(re.findall(r"env: (\w+)", (DEPLOY / "dagster-ray.yaml").read_text()))
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        variables = {each["name"]: each for each in container["env"]}
        assert variables["RAY_AUTH_MODE"]["value"] == "token"
        assert {*needed, "RAY_AUTH_TOKEN"} <= variables.keys()
        for variable in variables.values():
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            assert not reference or reference["key"] in secrets[reference["name"]]
        assert {each["secretRef"]["name"] for each in container["envFrom"]} <= secrets.keys()
        _check_names({*variables, *secrets["personahub"]})
    assert policy["spec"]["podSelector"]["matchLabels"] == {"ray.io/cluster": cluster["metadata"]["name"]}


# --- executors ---


def test_the_executor_of_a_code_location_is_chosen_by_its_name() -> None:
    assert executor_named("in_process") is dg.in_process_executor
    assert executor_named("multiprocess") is dg.multiprocess_executor
    with pytest.raises(ConfigError, match="did you mean 'ray'"):
        executor_named("rai")


def test_the_executor_of_ray_names_what_is_missing() -> None:
    if find_spec("dagster_ray"):
        assert executor_named("ray").name == "ray"
        return
    with pytest.raises(ConfigError, match=r"personahub-assets\[cluster\]"):
        executor_named("ray")
