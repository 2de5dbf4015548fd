"""Where a pipeline's vectors go, and its profiles, as the pipeline file says it.

A store that is added has its settings here, a `Target`, and a field of `Store`; `connectors.opening.stores` opens it.
"""

from __future__ import annotations

import re
from typing import ClassVar, Literal, TypeVar

from pydantic import Field, field_validator, model_validator

from core.config.pinecone import Pinecone
from core.config.postgres import PostgresServer
from core.config.source import AwsClient, Model
from core.config.staging import StagedStream, StagedTopic
from core.config.store_promises import MILVUS, OPENSEARCH, PGVECTOR, StorePromise
from core.config.targets import Holds, Target
from core.config.variants import kinds, named, one
from core.errors import ConfigError

_HOST = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?")


Kind = TypeVar("Kind", bound=Target)

VectorType = Literal["vector", "halfvec"]

NO_WORDS = "none"
"""In place of a text search configuration: no index of words is kept, and nothing is found by them."""


class VectorIndex(Model):
    """One kind of an index over vectors: its options by the store's names. None: as Freshet has it."""


class Hnsw(VectorIndex):
    """A graph. `m` edges a vector, made among `ef_construction` candidates; a search looks at `ef_search`, or as many
    as it asks for.
    """

    m: int | None = Field(None, ge=2, le=100)
    ef_construction: int | None = Field(None, ge=4, le=1000)
    ef_search: int | None = Field(None, ge=1, le=1000)

    @model_validator(mode="after")
    def _enough_candidates(self) -> Hnsw:
        if self.m is not None and (self.ef_construction or 2 * self.m) < 2 * self.m:
            raise ValueError(f"ef_construction is {self.ef_construction}, must be at least twice m ({self.m})")
        return self


class Ivfflat(VectorIndex):
    """Lists of vectors near one another; a search looks into `probes` of them, their number's root where not said."""

    lists: int = Field(ge=1, le=32_768)
    probes: int | None = Field(None, ge=1, le=32_768)


class PgvectorIndex(Model):
    """How the vectors of a table are indexed."""

    hnsw: Hnsw | None = None
    ivfflat: Ivfflat | None = None

    @model_validator(mode="after")
    def _one(self) -> PgvectorIndex:
        one(self, VectorIndex)
        return self

    @property
    def chosen(self) -> Hnsw | Ivfflat:
        """The one that the file names."""
        return self.ivfflat or self.hnsw or Hnsw()


class Pgvector(PostgresServer, Target):
    """Vectors in PostgreSQL, by pgvector. `table` may be qualified with a schema.

    text_search_config  how PostgreSQL takes texts apart into words: `simple`, as they are; as a language has them; or
                        NO_WORDS
    vector_type         the column's type: `halfvec` takes half the room, and rounds to half the digits
    """

    at: ClassVar[str] = "dsn"
    promise: ClassVar[StorePromise | None] = PGVECTOR

    table: str = Field(pattern=r"^[^.\x00]+(\.[^.\x00]+)?$", max_length=120)
    text_search_config: str = Field("simple", pattern=r"^[a-z_][a-z0-9_]*$", max_length=63)
    vector_type: VectorType = "vector"
    index: PgvectorIndex = PgvectorIndex(hnsw=Hnsw())

    def place(self, pipeline: str) -> str:
        """The table."""
        return f"table {self.table}"

    @property
    def has_words(self) -> bool:
        """Whether an index of words is kept."""
        return self.text_search_config != NO_WORDS


class Aws(Model):
    """Where requests are signed for: Amazon OpenSearch Service. Credentials come from boto3's chain."""

    region: str = Field(min_length=1)
    service: Literal["es"] = "es"


class Method(Model):
    """The graph of an OpenSearch index, by the k-NN plugin's names. None: as Freshet has it."""

    engine: Literal["lucene", "faiss"] = "lucene"
    m: int | None = Field(None, ge=2, le=100)
    ef_construction: int | None = Field(None, ge=4, le=1000)
    ef_search: int | None = Field(None, ge=1, le=10_000)


class IndexSettings(Model):
    """Settings of an OpenSearch index, by its names. None: as Freshet, or else the cluster, has it."""

    number_of_shards: int | None = Field(None, ge=1, le=1024)
    number_of_replicas: int | None = Field(None, ge=0, le=100)
    refresh_interval: str | None = Field(None, pattern=r"^(-1|[1-9][0-9]{0,5}(ms|s|m))$")


class OpenSearch(Target):
    """Vectors in OpenSearch, by its k-NN plugin, or KPIs. Settings are named as opensearch-py names them."""

    at: ClassVar[str] = "hosts"
    promise: ClassVar[StorePromise | None] = OPENSEARCH
    of_vectors: ClassVar[frozenset[str]] = frozenset({"method"})

    hosts: tuple[str, ...] = Field(min_length=1)
    index: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=200)
    user: str | None = None
    password: str | None = None
    ca_certs: str | None = None
    verify_certs: bool = True
    aws: Aws | None = None
    method: Method = Method()
    settings: IndexSettings = IndexSettings()

    @field_validator("hosts")
    @classmethod
    def _are_urls(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for at, host in enumerate(hosts):
            if not _HOST.fullmatch(host):
                # not quoted: it may hold a password
                raise ValueError(f"the URL number {at + 1} isn't https://host:port; user and password have settings")
        return hosts

    @model_validator(mode="after")
    def _one_login(self) -> OpenSearch:
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password must be set both or neither")
        if self.user is not None and self.aws is not None:
            raise ValueError("either user and password or aws can be set, not both")
        return self

    def place(self, pipeline: str) -> str:
        """The index."""
        return f"index {self.index}"


class MilvusHnsw(VectorIndex):
    """A graph, as Milvus has it: each vector has `m` edges, found among `ef_construction` candidates; a search looks at
    `ef_search`, or as many as it asks for.
    """

    m: int | None = Field(None, ge=2, le=2048)
    ef_construction: int | None = Field(None, ge=8, le=4096)
    ef_search: int | None = Field(None, ge=1, le=16_384)


class MilvusIvfFlat(VectorIndex):
    """Lists of vectors near one another, as Milvus has them; a search looks into `nprobe` of them, a quarter where not
    said.
    """

    nlist: int | None = Field(None, ge=1, le=65_536)
    nprobe: int | None = Field(None, ge=1, le=65_536)

    @model_validator(mode="after")
    def _within(self) -> MilvusIvfFlat:
        if self.nlist is not None and (self.nprobe or 1) > self.nlist:
            raise ValueError(f"nprobe is {self.nprobe}, must be at most nlist ({self.nlist})")
        return self


class MilvusAutoindex(VectorIndex):
    """What Milvus itself thinks best."""


class MilvusIndex(Model):
    """How the vectors of a collection are indexed."""

    hnsw: MilvusHnsw | None = None
    ivf_flat: MilvusIvfFlat | None = None
    autoindex: MilvusAutoindex | None = None

    @model_validator(mode="after")
    def _one(self) -> MilvusIndex:
        one(self, VectorIndex)
        return self

    @property
    def chosen(self) -> MilvusHnsw | MilvusIvfFlat | MilvusAutoindex:
        """The one that the file names."""
        return self.ivf_flat or self.autoindex or self.hnsw or MilvusHnsw()


ConsistencyLevel = Literal["Strong", "Bounded", "Session", "Eventually"]


class Milvus(Target):
    """Vectors in Milvus, or in a file by Milvus Lite. `uri` is a server's, or a file's path, relative to where the job
    is started.
    """

    at: ClassVar[str] = "uri"
    promise: ClassVar[StorePromise | None] = MILVUS

    uri: str = Field(min_length=1)
    collection: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,199}$")
    token: str | None = None
    index: MilvusIndex = MilvusIndex(hnsw=MilvusHnsw())
    consistency_level: ConsistencyLevel = "Strong"

    @field_validator("uri")
    @classmethod
    def _is_place(cls, uri: str) -> str:
        if "://" in uri and not _HOST.fullmatch(uri):
            # not quoted: it may hold a password
            raise ValueError("isn't https://host:port, nor a file; who may read and write is said by token")
        return uri

    def place(self, pipeline: str) -> str:
        """The collection."""
        return f"collection {self.collection}"

    @property
    def ledger(self) -> str:
        """The collection beside it that orders changes."""
        return f"{self.collection}_ledger"


class Postgres(PostgresServer, Target):
    """Profiles or KPIs in PostgreSQL: its tables are named after the pipeline."""

    holds: ClassVar[Holds] = "profiles"
    at: ClassVar[str] = "dsn"

    def place(self, pipeline: str) -> str:
        """The tables, whose names begin with the pipeline's."""
        return f"tables {pipeline}_…"


class Dynamodb(AwsClient, Target):
    """Profiles in a DynamoDB table, made where it is missing. Pipelines of several names may share it."""

    holds: ClassVar[Holds] = "profiles"
    at: ClassVar[str] = "aws.endpoint"

    table: str = Field(pattern=r"^[A-Za-z0-9_.-]{3,255}$")

    def place(self, pipeline: str) -> str:
        """The table."""
        return f"table {self.table}"


class Store(Model):
    """Where vectors go, and where profiles do: to each store that is named."""

    postgres: Postgres | None = None
    dynamodb: Dynamodb | None = None
    pgvector: Pgvector | None = None
    opensearch: OpenSearch | None = None
    milvus: Milvus | None = None
    pinecone: Pinecone | None = None
    kafka: StagedTopic | None = None
    kinesis: StagedStream | None = None

    @model_validator(mode="after")
    def _at_least_one(self) -> Store:
        if not self.names and not self.of_profiles:
            raise ValueError(f"names no store; it must have {self.some('vectors')}")
        return self

    @classmethod
    def holding(cls, what: Holds) -> tuple[str, ...]:
        """All stores that a file may name for vectors, or for profiles."""
        return tuple(name for name, each in kinds(cls, Target).items() if each.holds == what)

    @classmethod
    def some(cls, what: Holds) -> str:
        """What a file must name one or several of, for vectors or for profiles, in words."""
        there = cls.holding(what)
        return f"{', '.join(there)} or {'both' if len(there) == 2 else 'several'}"

    @property
    def targets(self) -> dict[str, Target]:
        """All stores that are named."""
        return named(self, Target)

    def of(self, kind: type[Kind]) -> Kind:
        """The one of a kind of settings. Raises ConfigError where the file names none of it."""
        for each in self.targets.values():
            if isinstance(each, kind):
                return each
        there = ", ".join(self.targets)
        raise ConfigError([f"store names {there}, and this is for {kind.__name__}"])

    @property
    def names(self) -> tuple[str, ...]:
        """The stores of vectors that are named."""
        return tuple(name for name, each in self.targets.items() if each.holds == "vectors")

    @property
    def of_profiles(self) -> tuple[str, ...]:
        """The stores of profiles that are named."""
        return tuple(name for name, each in self.targets.items() if each.holds == "profiles")
