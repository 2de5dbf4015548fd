"""Streams by key, where each row brings its own."""

from __future__ import annotations

from pyflink.common import TypeInformation, Types
from pyflink.datastream import DataStream, KeyedStream
from pyflink.java_gateway import get_gateway


def keyed(kind: TypeInformation) -> TypeInformation:
    """The type of rows that have their key, a text, before what they hold, which is of the type `kind`."""
    return Types.ROW([Types.STRING(), kind])


def by_key(stream: DataStream, kind: TypeInformation) -> KeyedStream:
    """The stream, of type `keyed(kind)`, by its rows' keys.

    `DataStream.key_by` would pass every row through Python once more, to put the key before it: the bytes of all
    changes, for a text that the operator before knew. This is what it does after that.
    """
    selector = get_gateway().jvm.KeyByKeySelector()
    key = Types.ROW([Types.STRING()]).get_java_type_info()
    return KeyedStream(stream._j_data_stream.keyBy(selector, key), kind, stream)
