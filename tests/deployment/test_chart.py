"""The Helm chart: linted, rendered for many values, and compared with the schemas of Kubernetes."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ferro_oci_server import __version__
from ferro_oci_server.auth.rights import TOKEN
from ferro_oci_server.config import PREFIX, Config, settings

from .programs import CHART, ROOT, checker, helm

Values = Mapping[str, Any]
Manifest = dict[str, Any]

# What the chart says it runs on, and the newest that there are schemas of.
KUBERNETES = ("1.25", "1.37")
# Kinds that are not Kubernetes' own: nothing here has their schemas.
EXTENSIONS = {"HTTPRoute", "ServiceMonitor"}
# Settings that the chart derives from other values.
# Those of TLS are none of a pod's: an ingress or a gateway has the certificates.
OWN_SETTINGS = {
    *("listen", "storage_dir", "database_url", "storage_url", "shutdown_seconds"),
    *("tls_cert", "tls_key", "tls_client_ca"),
}

# What an ingress or a gateway carries: what clients ask for.
CLIENTS_PATHS = ["/v2", TOKEN]

SCALE_OUT: Values = {
    "mode": "scale-out",
    "scaleOut": {
        "database": {"existingSecret": "registry-database"},
        "objectStore": {"url": "s3://bucket/registry?region=eu-west-1", "existingSecret": "registry-bucket"},
    },
}
EVERYTHING: Values = {
    "image": {"digest": f"sha256:{'a' * 64}"},
    "imagePullSecrets": [{"name": "pull"}],
    "settings": {"max_repository_bytes": 107374182400, "read_only": True, "blob_grace": "12h"},
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
    "extraEnvFrom": [{"configMapRef": {"name": "more"}}],
    "extraVolumes": [{"name": "backup", "persistentVolumeClaim": {"claimName": "backup"}}],
    "extraVolumeMounts": [{"name": "backup", "mountPath": "/backup"}],
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/registry"}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"c": "d"},
    "priorityClassName": "important",
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "only", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {}},
    "service": {"type": "LoadBalancer", "annotations": {"e": "f"}},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"g": "h"},
        "tls": [{"secretName": "tls", "hosts": ["registry.example.com"]}],
    },
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}]},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "networkPolicy": {
        "enabled": True,
        "from": [{"namespaceSelector": {}}],
        "egress": [{"ports": [{"port": 5432, "protocol": "TCP"}]}],
    },
}
SETS: Mapping[str, Values] = {
    "embedded": {},
    "embedded-in-memory": {"embedded": {"persistence": {"enabled": False}}},
    "embedded-on-a-claim": {"embedded": {"persistence": {"existingClaim": "registry"}}},
    "embedded-on-a-class": {"embedded": {"persistence": {"storageClass": "fast", "annotations": {"i": "j"}}}},
    "embedded-with-everything": EVERYTHING,
    "scale-out": SCALE_OUT,
    "scale-out-with-everything": {
        **EVERYTHING,
        **SCALE_OUT,
        "scaleOut": {**SCALE_OUT["scaleOut"], "autoscaling": {"enabled": True}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
        ],
    },
}


@pytest.fixture(params=SETS, ids=str)
def values(request: pytest.FixtureRequest) -> Values:
    return SETS[request.param]


class Chart:
    """Helm with the chart, rendered once for the same values."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._helm = helm(folder)
        self._rendered: dict[str, dict[str, Manifest]] = {}

    def render(self, values: Values) -> dict[str, Manifest]:
        """The manifests, by their kinds."""
        key = json.dumps(values)
        if key not in self._rendered:
            text = self._helm("template", "hub", str(CHART), "--values", self._written(values))
            manifests = {manifest["kind"]: manifest for manifest in yaml.safe_load_all(text) if manifest}
            assert len(manifests) == text.count("\nkind: "), "two of one kind, of which one would not be looked at"
            self._rendered[key] = manifests
        return self._rendered[key]

    def refuse(self, values: Values) -> str:
        return self._helm.refuses("template", "hub", str(CHART), "--values", self._written(values))

    def lint(self, values: Values) -> str:
        return self._helm("lint", "--strict", str(CHART), "--values", self._written(values))

    def _written(self, values: Values) -> str:
        path = self._folder / "values.yaml"
        path.write_text(yaml.safe_dump(dict(values)), encoding="utf-8")
        return str(path)


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Chart:
    return Chart(tmp_path_factory.mktemp("helm"))


def pod(manifests: Mapping[str, Manifest]) -> Manifest:
    workload = manifests.get("Deployment") or manifests["StatefulSet"]
    template: Manifest = workload["spec"]["template"]
    return template


def environment(container: Manifest) -> dict[str, str | None]:
    return {variable["name"]: variable.get("value") for variable in container["env"]}


def test_helm_finds_nothing(chart: Chart, values: Values) -> None:
    assert "0 chart(s) failed" in chart.lint(values)


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_knows_every_field(chart: Chart, values: Values, tmp_path: Path, version: str) -> None:
    manifests = chart.render(values)
    known = [manifest for kind, manifest in manifests.items() if kind not in EXTENSIONS]
    path = tmp_path / "rendered.yaml"
    path.write_text(yaml.safe_dump_all(known), encoding="utf-8")
    report = checker("kubernetes-validate", tmp_path)("--strict", "-k", version, str(path))
    assert report.count("passed for resource") == len(known), report


def test_the_pod_may_do_next_to_nothing(chart: Chart, values: Values) -> None:
    spec = pod(chart.render(values))["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532}.items() <= spec["securityContext"].items()
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    [container] = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]


def test_the_server_takes_the_settings(chart: Chart, values: Values) -> None:
    manifests = chart.render(values)
    [container] = pod(manifests)["spec"]["containers"]
    given = environment(container)
    if "Deployment" in manifests:
        secret = next(it for it in container["env"] if it["name"] == "FERRO_OCI_DATABASE_URL")
        assert secret["valueFrom"]["secretKeyRef"] == {"name": "registry-database", "key": "url"}
        given["FERRO_OCI_DATABASE_URL"] = "postgresql://registry@db/registry"
    texts = {name: text for name, text in given.items() if text is not None}
    assert {name for name in texts if name.startswith(PREFIX)} <= {PREFIX + it.name.upper() for it in settings()}

    config = Config.load({}, texts)

    assert config.is_kept
    assert (config.storage_dir is None) == ("Deployment" in manifests)
    assert config.listen.port == container["ports"][0]["containerPort"]
    if values.get("settings"):
        assert (config.max_repository_bytes, config.read_only, config.blob_grace) == (107374182400, True, 12 * 3600)


def test_it_is_stopped_no_sooner_than_requests_may_end(chart: Chart, values: Values) -> None:
    spec = pod(chart.render(values))["spec"]
    [container] = spec["containers"]
    drained = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    running = int(environment(container)["FERRO_OCI_SHUTDOWN_SECONDS"] or "")
    assert spec["terminationGracePeriodSeconds"] > drained + running


def test_probes_ask_what_the_server_has(chart: Chart) -> None:
    [container] = pod(chart.render({}))["spec"]["containers"]
    asked = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert asked == {"startupProbe": "/ready", "readinessProbe": "/ready", "livenessProbe": "/live"}


def test_only_the_storage_and_tmp_can_be_written_to(chart: Chart) -> None:
    [container] = pod(chart.render({}))["spec"]["containers"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounted == {"/tmp", environment(container)["FERRO_OCI_STORAGE_DIR"]}


def test_one_pod_has_its_volume_for_itself(chart: Chart) -> None:
    manifests = chart.render({})
    assert not {"Deployment", "PodDisruptionBudget", "HorizontalPodAutoscaler"} & manifests.keys()
    stateful = manifests["StatefulSet"]["spec"]
    assert stateful["replicas"] == 1
    [claim] = stateful["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_replicas_keep_nothing_and_are_replaced_one_by_one(chart: Chart) -> None:
    manifests = chart.render(SCALE_OUT)
    assert not {"StatefulSet", "PersistentVolumeClaim"} & manifests.keys()
    deployment = manifests["Deployment"]["spec"]
    assert deployment["replicas"] == 3
    more = chart.render({**SCALE_OUT, "scaleOut": {**SCALE_OUT["scaleOut"], "replicas": 5}})
    assert more["Deployment"]["spec"]["replicas"] == 5
    assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert [volume["name"] for volume in pod(manifests)["spec"]["volumes"]] == ["tmp"]
    assert manifests["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


def test_the_autoscaler_alone_says_how_many(chart: Chart) -> None:
    manifests = chart.render(SETS["scale-out-with-everything"])
    assert "replicas" not in manifests["Deployment"]["spec"]
    target = manifests["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target["name"] == manifests["Deployment"]["metadata"]["name"]


def test_whatever_selects_pods_selects_these(chart: Chart, values: Values) -> None:
    manifests = chart.render(values)
    labels = pod(manifests)["metadata"]["labels"].items()
    selectors = {
        "Service": manifests["Service"]["spec"]["selector"],
        **{
            kind: manifest["spec"].get("selector", manifest["spec"].get("podSelector"))["matchLabels"]
            for kind, manifest in manifests.items()
            if kind in ("Deployment", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy")
        },
    }
    for kind, selector in selectors.items():
        assert selector.items() <= labels, kind


def test_an_ingress_lets_layers_through_and_hides_metrics(chart: Chart) -> None:
    ingress = chart.render(EVERYTHING)["Ingress"]
    annotations = ingress["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/proxy-body-size"] == "0"
    assert annotations["nginx.ingress.kubernetes.io/proxy-request-buffering"] == "off"
    assert annotations["g"] == "h"
    [rule] = ingress["spec"]["rules"]
    assert [path["path"] for path in rule["http"]["paths"]] == CLIENTS_PATHS


def test_what_is_not_kubernetes_own_finds_the_service(chart: Chart) -> None:
    manifests = chart.render(EVERYTHING)
    service = manifests["Service"]
    monitor = manifests["ServiceMonitor"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"] == [
        {"port": service["spec"]["ports"][0]["name"], "path": "/metrics", "interval": "30s"}
    ]
    [rule] = manifests["HTTPRoute"]["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}]
    assert [match["path"]["value"] for match in rule["matches"]] == CLIENTS_PATHS


def test_the_monitor_can_log_in(chart: Chart) -> None:
    login = {"basicAuth": {"username": {"name": "scrape", "key": "user"}, "password": {"name": "scrape", "key": "key"}}}
    manifests = chart.render({"serviceMonitor": {"enabled": True, "endpoint": login}})
    [endpoint] = manifests["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint == {"port": "http", "path": "/metrics", "interval": "30s", **login}


TLS = {"enabled": True, "tls": [{"secretName": "registry-tls"}]}


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({"ingress": TLS}, "https://registry.example.com"),
        ({"ingress": TLS, "settings": {"public_url": "https://hub.example.com"}}, "https://hub.example.com"),
        ({"ingress": {**TLS, "tls": []}}, None),
        ({"ingress": {**TLS, "enabled": False}}, None),
        ({"ingress": {**TLS, "hosts": ["a.example.com", "b.example.com"]}}, None),
        ({"ingress": {**TLS, "hosts": ["*.example.com"]}}, None),
    ],
    ids=["one host", "said otherwise", "no TLS", "no ingress", "two hosts", "any host"],
)
def test_clients_are_sent_for_tokens_to_where_the_ingress_is(chart: Chart, given: Values, address: str | None) -> None:
    [container] = pod(chart.render(given))["spec"]["containers"]
    assert environment(container).get("FERRO_OCI_PUBLIC_URL") == address


@pytest.mark.parametrize(
    "given",
    [
        {"replicas": 2},
        {"replicas": 1},
        {"autoscaling": {"enabled": True}},
        {"database": SCALE_OUT["scaleOut"]["database"]},
        {"objectStore": {"url": "s3://bucket"}},
        {"objectStore": {"existingSecret": "registry-bucket"}},
    ],
    ids=str,
)
def test_files_are_not_for_several_pods(chart: Chart, given: Values) -> None:
    [(name, value)] = given.items()
    full = f"scaleOut.{name}.{next(iter(value))}" if isinstance(value, dict) else f"scaleOut.{name}"
    refused = chart.refuse({"scaleOut": given})
    assert f"mode embedded keeps everything on the volume of one pod, and can have no {full}: " in refused
    assert "say mode: scale-out" in refused


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"mode": "cluster"}, "/mode"),
        ({"replicas": 3}, "replicas"),
        ({"settings": {"max_repository_byte": 1}}, "max_repository_byte"),
        ({"settings": {"listen": "0.0.0.0:80"}}, "listen"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
        ({**SCALE_OUT, "scaleOut": {"objectStore": SCALE_OUT["scaleOut"]["objectStore"]}}, "scaleOut.database"),
        ({**SCALE_OUT, "scaleOut": {"database": SCALE_OUT["scaleOut"]["database"]}}, "scaleOut.objectStore.url"),
        ({**SCALE_OUT, "scaleOut": {"objectStore": {"url": "https://bucket"}}}, "/scaleOut/objectStore/url"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_wrong_values_are_refused_and_named(chart: Chart, wrong: Values, named: str) -> None:
    assert named in chart.refuse(wrong)


def test_the_documented_values_are_those_of_the_chart() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = text.partition("| value | default | |\n|---|---|---|\n")[2].partition("\n\n")[0]
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    for line in table.splitlines():
        name, default = (cell.strip().strip("`") for cell in line.split("|")[1:3])
        value = values
        for part in name.split("."):
            value = value[part]
        assert (json.dumps(value).strip('"') if value not in ("", None, {}) else "none") == default, name
    assert len(table.splitlines()) > 10


def test_the_documented_example_is_taken(chart: Chart) -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    [example] = re.findall(r"^```yaml\n(mode: scale-out\n.*?)^```$", text, re.MULTILINE | re.DOTALL)
    values = yaml.safe_load(example)
    assert "0 chart(s) failed" in chart.lint(values)
    [container] = pod(chart.render(values))["spec"]["containers"]
    given = environment(container)
    assert given["FERRO_OCI_PUBLIC_URL"] == "https://registry.example.com"
    assert given["FERRO_OCI_HTPASSWD"] == container["volumeMounts"][-1]["mountPath"] + "/htpasswd"


def test_the_schema_knows_every_setting() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    known = schema["properties"]["settings"]["propertyNames"]["enum"]
    assert known == sorted({setting.name for setting in settings()} - OWN_SETTINGS)


def test_the_chart_has_the_version_of_the_program() -> None:
    described = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert described["appVersion"] == __version__
