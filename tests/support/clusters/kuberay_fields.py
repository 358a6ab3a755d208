"""Fields of KubeRay 1.7.0's ``ray.io/v1`` resources, strictly: one that is unknown is refused.

From the CRD API reference of that release; pod templates are checked by Kubernetes' own schemas.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

PodTemplate = dict[str, Any]
Count = Annotated[int, Field(ge=0)]
Deadline = Annotated[int, Field(ge=1)]
SubmissionMode = Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Metadata(Strict):
    name: Name
    namespace: Name | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class AuthOptions(Strict):
    mode: Literal["disabled", "token"]
    secret_name: str | None = None
    enable_k8s_token_auth: Annotated[bool | None, Field(alias="enableK8sTokenAuth")] = None


class AutoscalerOptions(Strict):
    idle_timeout_seconds: Count | None = None
    upscaling_mode: Literal["Default", "Aggressive", "Conservative"] | None = None
    version: Literal["v1", "v2"] | None = None
    resources: dict[str, Any] | None = None
    image: str | None = None
    image_pull_policy: str | None = None
    security_context: dict[str, Any] | None = None
    env: list[dict[str, Any]] = []
    env_from: list[dict[str, Any]] = []
    volume_mounts: list[dict[str, Any]] = []
    command: list[str] = []
    args: list[str] = []


class HeadGroup(Strict):
    template: PodTemplate
    ray_start_params: dict[str, str]
    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"] | None = None
    head_service: dict[str, Any] | None = None
    enable_ingress: bool | None = None
    ingress_options: dict[str, Any] | None = None
    resources: dict[str, str] = {}
    labels: dict[str, str] = {}


class WorkerGroup(Strict):
    group_name: str
    template: PodTemplate
    ray_start_params: dict[str, str]
    replicas: Count = 0
    min_replicas: Count = 0
    max_replicas: Count = 2147483647
    num_of_hosts: Deadline = 1
    idle_timeout_seconds: Count | None = None
    priority: int | None = None
    suspend: bool | None = None
    resources: dict[str, str] = {}
    labels: dict[str, str] = {}
    scale_strategy: dict[str, Any] | None = None


class RayClusterSpec(Strict):
    head_group_spec: HeadGroup
    worker_group_specs: list[WorkerGroup] = []
    ray_version: str | None = None
    auth_options: AuthOptions | None = None
    enable_in_tree_autoscaling: bool | None = None
    autoscaler_options: AutoscalerOptions | None = None
    head_service_annotations: dict[str, str] = {}
    suspend: bool | None = None
    managed_by: str | None = None
    upgrade_strategy: dict[str, Any] | None = None
    gcs_fault_tolerance_options: dict[str, Any] | None = None
    history_server_options: dict[str, Any] | None = None
    network_policy: dict[str, Any] | None = None
    tls_options: dict[str, Any] | None = None


class SubmitterConfig(Strict):
    backoff_limit: Count | None = None


class RayJobSpec(Strict):
    entrypoint: str
    ray_cluster_spec: RayClusterSpec | None = None
    submission_mode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"] | None = (
        None
    )
    backoff_limit: Count = 0
    active_deadline_seconds: Deadline | None = None
    pre_running_deadline_seconds: Deadline | None = None
    shutdown_after_job_finishes: bool = False
    ttl_seconds_after_finished: Count = 0
    submitter_config: SubmitterConfig | None = None
    submitter_pod_template: PodTemplate | None = None
    runtime_env_yaml: Annotated[str | None, Field(alias="runtimeEnvYAML")] = None
    job_id: str | None = None
    metadata: dict[str, str] = {}
    cluster_selector: dict[str, str] = {}
    managed_by: str | None = None
    deletion_strategy: dict[str, Any] | None = None
    entrypoint_resources: str | None = None
    entrypoint_num_cpus: float | None = None
    entrypoint_num_gpus: float | None = None
    suspend: bool | None = None


class RayCronJobSpec(Strict):
    schedule: str
    job_template: RayJobSpec
    time_zone: Annotated[str, Field(min_length=1)] | None = None
    suspend: bool | None = None


class RayCluster(Strict):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: RayClusterSpec


class RayCronJob(Strict):
    api_version: Literal["ray.io/v1"]
    kind: Literal["RayCronJob"]
    metadata: Metadata
    spec: RayCronJobSpec
