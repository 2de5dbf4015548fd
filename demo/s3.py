"""The demo of documents in S3: Markdown files of a bucket, and notifications of them in a topic."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from connectors.aws.client import Aws
from connectors.kafka.producer import ensure_topics, produce
from connectors.s3.objects import S3
from core.change import BEGINNING, Change, Operation
from core.config.format import bucket_table
from core.documents.objects import Fetched
from core.documents.step import DocumentSpec, document_id
from core.formats.recordings import Record
from demo import world as worlds
from demo.aws import CREDENTIALS, MANUAL, REGION, account, equal, keep_up, unchanged
from demo.claims import delete, edit, edit_one_paragraph, survive
from demo.stage import Claims, Done, Evidence, NotSeen, Stage, brief, sent_now
from demo.world import World
from stack.local import Stack
from workloads.articles import Article, Step
from workloads.feeds import markdown
from workloads.texts import Text
from workloads.writers.s3 import BucketWriter

NAME = "demo-s3"
BUCKET = "demo-pages"
_SPEC = DocumentSpec(bucket_table(BUCKET), "{text}")


class Bucket:
    """A bucket of Markdown files, with a notification of each write in a topic: `demo.aws.Collection`."""

    name = "the bucket"

    def __init__(self, world: World, aws: Aws) -> None:
        """The bucket must be there."""
        self.world = world
        self.aws = aws
        self.topic = f"{world.prefix}.changes"
        self.manual = _document(_key(MANUAL))
        self.before_commands = CREDENTIALS
        self.invitation = (
            f"freshet produce --aws-endpoint {aws.endpoint} --aws-region {REGION} --bucket {BUCKET} --prefix more "
            f"--events 20 --topic {self.topic} --bootstrap-servers {world.bootstrap_servers} writes more objects"
        )
        self._store = S3("demo", aws)
        self._writer = BucketWriter(BUCKET, aws)
        self._numbers = {article.title: article.id for article in reversed(worlds.articles())}
        self._chance = random.Random(1)

    def begin(self) -> None:
        """Put the files, and tell of each."""
        manual = worlds.manual()
        files = [Text(MANUAL, manual.title, manual.paragraphs), *worlds.articles()]
        self.tell(self._writer.write((_key(file.id), _markdown(file)) for file in files))

    def put(self, objects: Iterable[tuple[str, bytes | None]]) -> None:
        """Put or delete objects, and tell of each once it is done."""
        self.tell(self._writer.write(objects))

    def tell(self, notifications: Iterable[tuple[str, bytes]]) -> None:
        """Send notifications, by the objects' keys."""
        produce(self.world.bootstrap_servers, (Record(self.topic, key.encode(), value) for key, value in notifications))

    def document(self, title: str) -> str:
        """The id of the document that is an article."""
        return _document(self._key_of(title))

    def _key_of(self, title: str) -> str:
        if title not in self._numbers:
            raise NotSeen(f"this Python's language reference has no section {title!r}")
        return _key(self._numbers[title])

    def read(self, key: str) -> bytes:
        """An object as it is now. Raises NotSeen where there is none."""
        found = self._store.fetch(BUCKET, key, lambda size: None)
        if not isinstance(found, Fetched):
            raise NotSeen(f"{key} is gone: was the bucket changed meanwhile?")
        return found.content

    def prepend(self, title: str, text: str) -> Done:
        """Write a text before an article's body."""
        key = self._key_of(title)
        heading, _, body = self.read(key).decode().partition("\n\n")
        return self._write(key, f"{heading}\n\n{text}{body}", text)

    def extend(self, paragraph: str, text: str) -> Done:
        """Write a text behind a paragraph of the manual."""
        before = self.read(_key(MANUAL)).decode()
        return self._write(_key(MANUAL), before.replace(paragraph, f"{paragraph}{text}"), f"{paragraph[:30]}…{text}")

    def _write(self, key: str, content: str, changed: str) -> Done:
        sent = sent_now()
        self.put([(key, content.encode())])
        return Done(sent, "put", f"s3://{BUCKET}/{key}, with {brief(changed, 80)!r}")

    def delete(self, title: str) -> Done:
        """Delete an article."""
        key, sent = self._key_of(title), sent_now()
        self.put([(key, None)])
        return Done(sent, "delete", f"s3://{BUCKET}/{key}")

    def write(self, steps: Sequence[Step]) -> str:
        """Put and delete files, then tell of all of them twice and in any order."""
        files = [(_key(step.id), None if step.article is None else markdown(step.article)) for step in steps]
        notifications = list(self._writer.write(files))
        self.tell(self._chance.sample(notifications * 2, len(notifications) * 2))
        return "each notification was sent twice, in any order"

    def text(self, article: Article) -> str:
        """What an article's document says."""
        return markdown(article).decode()

    def truth(self) -> Mapping[str, str]:
        """The text of each document, as the bucket is now; what is broken in it has none."""
        keys = [found.key for page in self._store.objects(BUCKET) for found in page if found.key.endswith(".md")]
        return {_document(key): self.read(key).decode() for key in keys}

    def own_keys(self) -> list[str]:
        """Of the demo's own files."""
        return [found.key for page in self._store.objects(BUCKET, "articles/") for found in page]

    def close(self) -> None:
        """Give the connections back."""
        self._store.client.close()


def _key(number: int) -> str:
    return f"articles/{number}.md" if number <= MANUAL else f"made/{number}.md"


def _markdown(text: Text) -> bytes:
    return markdown(Article(text.id, text.title, text.paragraphs, "en", ""))


def _document(key: str) -> str:
    return document_id(_SPEC, Change(_SPEC.table, {"key": key}, Operation.UPSERT, BEGINNING))


def make(stack: Stack, folder: Path) -> Bucket:
    """Make a new demo's bucket, topics and pipeline file; what an earlier demo left is removed."""
    aws = account(stack)
    world = worlds.world(NAME, stack, folder / "s3.yaml", "write")
    ensure_topics(world.bootstrap_servers, {f"{world.prefix}.changes": 3, world.dead_letters: 1})
    BucketWriter(BUCKET, aws).ensure()
    _empty(aws)
    bucket = Bucket(world, aws)
    world.file.write_text(pipeline(bucket), encoding="utf-8")
    return bucket


def _empty(aws: Aws) -> None:
    store = S3("demo", aws)
    for page in store.objects(BUCKET):
        if page:
            store.client.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": found.key} for found in page]})


def pipeline(bucket: Bucket) -> str:
    """The demo's pipeline file."""
    return f"""\
name: {NAME}
source:
  kafka:
    topic: {bucket.topic}
    properties.bootstrap.servers: {bucket.world.bootstrap_servers}
    scan.startup.mode: earliest-offset
format:
  s3: {{aws.region: {REGION}, aws.endpoint: "{bucket.aws.endpoint}"}}
documents:
  {bucket_table(BUCKET)}:
    text: "{{text}}"
    metadata: [key, title]
    chunk: {{tokens: 256, overlap: 32}}
{worlds.pipeline_end(bucket.world)}"""


def rewrite(stage: Stage[Bucket]) -> Evidence:
    """Every file of the demo's own put once more, with the same bytes: each is loaded, and the model sees none."""
    bucket, before = stage.texts, stage.progress().counts
    same = [(key, bucket.read(key)) for key in bucket.own_keys()]
    sent = sent_now()
    bucket.put(same)
    return unchanged(stage, "objects_loaded", sent, len(same), before)


def survive_poison(stage: Stage[Bucket]) -> Evidence:
    """A PDF that is none, and a message that is no notification: dead letters, and the job goes on."""
    stage.texts.put([("broken.pdf", b"%PDF-1.7 and no more")])
    stage.texts.tell([("nonsense", b"\x00\xff no JSON")])
    return survive(stage, ("put", f"s3://{BUCKET}/broken.pdf, and a message that isn't JSON"), 2)


CLAIMS: Claims[Bucket] = (
    ("An edit changes the answer", edit),
    ("An edit of one paragraph embeds what changed", edit_one_paragraph),
    ("A delete is gone from the answers", delete),
    ("Files written again as they are embed nothing", rewrite),
    ("Notifications come twice and in any order", keep_up),
    ("Poison becomes a dead letter", survive_poison),
    ("The store equals the bucket", equal),
)
