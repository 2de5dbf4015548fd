"""What of every deployment file ran here, and by which test; docs/what-ran.md's table is made from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """Deployment files, as patterns below the checkout; what ran, by which tests; and what never did."""

    files: tuple[str, ...]
    ran: str
    tests: tuple[str, ...]
    never: str


ROWS = (
    Row(
        ("docker-compose.yaml", ".env", "deploy/docker/pipeline.yaml", "deploy/docker/loader.py"),
        "every service's command, environment, configs, secrets, volumes, user, health check and place in the order, "
        "as processes in root folders of their own, to the documented search; Compose's schema",
        (
            "test_containers.py::test_the_services_come_up_and_the_search_of_the_page_answers",
            "test_compose.py::test_the_file_keeps_the_schema_of_compose",
            "test_compose.py::test_the_loader_makes_changes",
        ),
        "a Docker engine; Grafana's container; the GPU profile",
    ),
    Row(
        ("deploy/docker/serve.yaml",),
        "nothing as a service: the file is read, and its keys are made by the container's own line",
        ("test_compose.py::test_the_chat_has_a_model_on_processors_or_one_on_a_gpu_under_one_name",),
        "the profiles `chat` and `chat-gpu`",
    ),
    Row(
        ("deploy/docker/milvus.yaml",),
        "nothing as a service: the file is read, and its collection made, written and searched on Milvus Lite",
        ("test_compose.py::test_the_pipeline_into_milvus_fits_the_services_and_the_other_one",),
        "the profile `milvus`: Milvus' image, with its etcd and its health check",
    ),
    Row(
        (
            "deploy/docker/Dockerfile",
            "deploy/docker/Dockerfile.dockerignore",
            "deploy/docker/*.py",
            "deploy/docker/*.lock",
        ),
        "the wheel, built from each stage's tree, and what the images start, from that wheel; hadolint",
        (
            "test_image.py::test_what_the_image_starts_can_be_started",
            "test_compose.py::test_the_dockerfile_has_nothing_that_hadolint_minds",
        ),
        "`docker build`: the pulled base images, RUN lines, paths and users within the images",
    ),
    Row(
        ("deploy/kubernetes/application/*",),
        "the pods' words with the manifest's configuration, as processes, with its state in S3 (moto); "
        "schemas of Kubernetes and of Flink's operator",
        (
            "test_application.py::test_the_pods_commands_end_in_the_true_table_and_go_on_from_a_savepoint_in_s3",
            "test_kubernetes.py::test_a_manifest_is_of_the_operators_fields",
            "test_kubernetes.py::test_a_manifest_is_of_kubernetes_own_fields",
        ),
        "Kubernetes, Flink's operator, kustomize; the network's policies; the role of a service account",
    ),
    Row(
        ("deploy/kubernetes/*.yaml",),
        "`freshet run --target` on a session cluster of processes; schemas as above",
        ("../flink_jobs/test_target.py::test_a_job_on_a_cluster_outlives_who_submitted_it_and_stops_with_a_savepoint",),
        "Kubernetes, Flink's operator; GPUs; a volume that many pods write to",
    ),
    Row(
        ("deploy/kubernetes/debezium/*", "deploy/kubernetes/example/*"),
        "nothing: schemas of Strimzi's operator; what the overlay patches is there",
        (
            "test_kubernetes.py::test_debezium_is_set_up_as_the_local_stacks",
            "test_kubernetes.py::test_kustomizations_name_what_is_there_and_patch_what_they_have",
        ),
        "Kubernetes, Strimzi's operator, kustomize",
    ),
    Row(
        ("deploy/msf/*",),
        "the very zip, on a Flink cluster of processes that refuses what the service does: upgraded, rescaled, resumed",
        (
            "test_rehearsal.py::test_the_bundle_runs_is_upgraded_and_rescaled_with_its_state",
            "test_rehearsal.py::test_the_job_of_profiles_embeds_by_the_model_in_its_bundle_and_goes_on_from_its_savepoint",
        ),
        "Managed Service for Apache Flink itself",
    ),
    Row(
        ("deploy/msk_connect/*",),
        "the archive, of the pinned Debezium; the connector's configuration held to the local stack's",
        (
            "test_msk_connect.py::test_the_plugin_has_debezium_and_the_providers_and_its_hash_in_its_name",
            "test_msk_connect.py::test_the_connector_is_as_the_local_stacks_but_for_its_server_and_secrets",
        ),
        "MSK Connect; AWS's providers of configuration",
    ),
    Row(
        ("deploy/cloudformation/*",),
        "moto's CloudFormation, of the types that it knows, for four walks; cfn-lint, and checks of our own; the "
        "properties read as the program reads them; policies held to the pages and, by moto, to what clients call; how "
        "the container of serve.yaml begins, by a shell",
        (
            "test_cloudformation.py::test_cfn_lint_passes_them",
            "test_properties.py::test_what_parameters_name_is_in_its_place_and_nothing_else",
            "test_walks.py::test_a_walk_up_to_the_calls_that_need_an_account",
            "test_refusals.py::test_no_template_has_what_is_refused",
            "test_serve_stack.py::test_the_containers_files_are_there_before_any_command_and_in_no_environment",
        ),
        "CloudFormation, AWS; the image of serve.yaml",
    ),
    Row(
        ("deploy/dashboards/grafana/*", "deploy/dashboards/prometheus/*"),
        "the alerts are loaded by the rehearsal's Prometheus, where one is installed; queries held to the metrics that "
        "there are, those of KPIs to a PostgreSQL's tables",
        (
            "test_dashboards.py::test_a_query_asks_for_what_is_defined",
            "test_dashboards.py::test_a_dashboard_is_one_that_grafana_takes",
        ),
        "Grafana",
    ),
    Row(
        ("deploy/__init__.py", "deploy/ruff.toml"),
        "part of the wheel, and of the linter's settings",
        ("test_image.py::test_the_wheel_has_every_package_and_what_they_read",),
        "",
    ),
)
