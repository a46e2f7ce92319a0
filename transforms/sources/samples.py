"""Members of a tar or zip as records: pictures, each with the labels that lie beside it.

    train/0001.jpg  train/0001.cls  train/0001.json  ->  a picture, labels `cls`, `json`

The name of a sample is the path of a member up to the first dot of its base name (`last-dot`: the
last one), and a sample is a run of members of one name, as in the webdataset library; what follows
the dot, in lower case, is the name of the label. Every picture of a sample is a record of its own,
whose key is its whole path, so that neither the order of members nor the other pictures have a part
in it. Where a sample has several pictures, a label whose name differs from one of theirs in the
last suffix alone belongs to that one; all others belong to each of them.

Types are those of the webdataset library: `cls`, `index`, `id` and the like are 64-bit integers,
`txt`, `json` and the like text that is kept as it is, and everything else bytes.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from underpaint.codec.errors import PictureError, PictureTooLarge
from underpaint.transforms.records import Record, Skipped, clean_key
from underpaint.transforms.sources.base import FOLDER_LABEL, failing, folder_label
from underpaint.transforms.sources.kinds import (
    VIDEO_SUFFIXES,
    has_picture_suffix,
    reserved_name,
    skip_reason,
    suffix_of,
)
from underpaint.transforms.sources.labels import MISFITS, Declared, Labels, cause, fit, label_name
from underpaint.transforms.sources.recognition import is_picture

TEXT = frozenset(
    {"txt", "text", "transcript", "caption", "json", "jsn", "url", "html", "csv", "xml", "yaml"}
)
"""Last suffixes of labels that are text."""

INTEGER = frozenset({"cls", "cls2", "class", "count", "index", "inx", "id"})
"""Last suffixes of labels that are integers, unless one of the values examined is not."""

MOST_MEMBERS = 256
MOST_BYTES = 64 << 20
"""A run of more members or bytes of one name is no sample: it is cut where the rest of the name
changes."""

PEEKED_VALUES = 256
"""Values of a label that are looked at for whether they are integers."""

LINK = "link in an archive"


@dataclass(frozen=True)
class Member:
    """A file in a tar or zip."""

    name: str
    size: int
    place: int
    """Where it begins in the shard."""
    read: Callable[[], bytes]
    """Its content; a shard that is read from start to end gives it before the next member."""
    head: Callable[[], bytes] | None = None
    """Its first bytes, where they can be read for less than all of it."""
    skipped: str = ""
    """Why it is left out, whatever it holds."""


@dataclass(frozen=True)
class SampleRules:
    """How members become records."""

    labels: Labels = field(default_factory=Labels)
    picture: str | None = None
    """The suffix of the picture of a sample; None: every picture is a record."""
    last_dot: bool = False
    label_from_folder: bool = False

    def stem(self, name: str) -> str:
        """The name of the sample that a member belongs to."""
        folder, _, base = name.rpartition("/")
        first, last = base.partition(".")[0], base.rpartition(".")[0]
        stem = (last if self.last_dot else first) or base
        return f"{folder}/{stem}" if folder else stem

    def extension(self, name: str) -> str:
        """What follows the name of the sample, in lower case, without the dot."""
        return name[len(self.stem(name)) + 1 :].lower()

    def names_picture(self, name: str) -> bool:
        """Whether a member is a picture by its name."""
        if self.picture is not None:
            return self.extension(name) == self.picture.lower().lstrip(".")
        return has_picture_suffix(name)


def member_name(name: str) -> str:
    """A member's name without the `./` that tars of a folder begin it with."""
    while name.startswith("./"):
        name = name[2:]
    return name.lstrip("/")


def samples(members: Iterable[Member], rules: SampleRules) -> Iterator[list[Member]]:
    """Runs of members of one sample.

    A member that is left out comes alone, behind the sample that it lies in or follows. Where the
    shard breaks off, the members up to there come before the error.
    """
    run: list[Member] = []
    left_out: list[Member] = []
    size = 0
    try:
        for member in members:
            if is_left_out(member):
                left_out.append(member)
                continue
            if run and (
                rules.stem(member.name) != rules.stem(run[0].name)
                or _is_too_long(len(run), size, member, run[-1])
            ):
                yield run
                run, size = [], 0
            if not run:
                yield from ([each] for each in left_out)
                left_out = []
            run.append(member)
            size += member.size
    except Exception:  # a shard format raises what it likes
        yield from _rest(run, left_out)
        raise
    yield from _rest(run, left_out)


def is_left_out(member: Member) -> bool:
    """Whether a member is skipped whatever it holds."""
    return bool(member.skipped or reserved_name(member.name))


def read_ahead(members: Iterable[Member]) -> Iterator[Member]:
    """Members of a shard that is read from start to end, their content taken as it goes by."""
    for member in members:
        if is_left_out(member):
            yield member
            continue
        try:
            content = member.read()
        except PictureTooLarge as error:
            yield Member(member.name, 0, member.place, failing(error))
            continue
        yield Member(member.name, member.size, member.place, lambda content=content: content)  # type: ignore[misc]


def within_budget(
    members: Iterable[Member], rules: SampleRules, place: Callable[[], int], budget: int
) -> Iterator[Member]:
    """The members of the first two samples, and of more until so many bytes have been read."""
    stem, count = "", 0
    for member in members:
        if rules.stem(member.name) != stem:
            stem, count = rules.stem(member.name), count + 1
            if count > 2 and place() > budget:
                return
        yield member


def records_of_sample(
    sample: list[Member], prefix: str, uri: Callable[[str], str], rules: SampleRules
) -> Iterator[Record | Skipped]:
    """A record for each picture of a sample, or one `Skipped` for each member without a picture."""
    first = sample[0]
    if is_left_out(first):
        yield Skipped(uri(first.name), first.skipped or reserved_name(first.name))
        return
    pictures, others = sorted_out(sample, rules)
    for member in sample:
        if any(member is picture for picture in pictures):
            yield _record(member, pictures, others, prefix, uri(member.name), rules)
        elif not pictures or not any(member is label for label in others):
            yield Skipped(uri(member.name), skip_reason(member.name))


def label_types(found: Iterable[list[Member]], rules: SampleRules) -> dict[str, pa.DataType]:
    """Types of the labels of some samples, by their names."""
    whole: dict[str, bool] = {}
    looked_at: Counter[str] = Counter()
    for sample in found:
        pictures, others = sorted_out(sample, rules)
        for picture in pictures:
            for name, member in _labels_of(picture, pictures, others, rules):
                whole.setdefault(name, _last(name) in INTEGER)
                if whole[name] and looked_at[name] < PEEKED_VALUES:
                    looked_at[name] += 1
                    whole[name] = _is_integer(member.read())
    return {name: _kind(name, whole[name]) for name in sorted(whole)}


def label_columns(
    types: Iterable[dict[str, pa.DataType]], declared: Declared, rules: SampleRules
) -> Labels:
    """The label columns of shards whose samples have labels of these types."""
    kinds: dict[str, pa.DataType] = {}
    for found in types:
        for name, kind in found.items():
            kinds[name] = kind if kinds.get(name, kind) == kind else pa.string()
    schema = pa.schema([(label_name(name), kinds[name]) for name in sorted(kinds)])
    if rules.label_from_folder:
        schema = pa.schema([item for item in schema if item.name != FOLDER_LABEL.name])
        schema = schema.append(FOLDER_LABEL)
    return Labels.of([schema], declared)


def sorted_out(sample: list[Member], rules: SampleRules) -> tuple[list[Member], list[Member]]:
    """The pictures of a sample, and its labels. Content is looked into where no name tells."""
    if is_left_out(sample[0]):
        return [], []
    named = [member for member in sample if rules.names_picture(member.name)]
    pictures, others = [], []
    for member in sample:
        unsaid = not named or not rules.extension(member.name)
        if any(member is each for each in named) or (
            unsaid and rules.picture is None and _holds_picture(member)
        ):
            pictures.append(member)
        elif rules.extension(member.name) and suffix_of(member.name) not in VIDEO_SUFFIXES:
            others.append(member)
    return pictures, others


def _holds_picture(member: Member) -> bool:
    if _last(member.name.lower()) in TEXT | INTEGER or suffix_of(member.name) in VIDEO_SUFFIXES:
        return False
    try:
        return is_picture((member.head or member.read)())
    except PictureError:
        return False


def _record(
    picture: Member,
    pictures: list[Member],
    others: list[Member],
    prefix: str,
    uri: str,
    rules: SampleRules,
) -> Record:
    key = clean_key(f"{prefix}/{picture.name}" if prefix else picture.name)
    values: dict[str, object] = {}
    notes: list[str] = []
    left_out: list[str] = []
    for name, member in _labels_of(picture, pictures, others, rules):
        if name in values:
            notes.append(f"label {name!r} is there twice, and the last one was stored")
            left_out.append(cause(name, "twice in one sample"))
        try:
            values[name] = _text_or_bytes(member.read(), name, notes)
        except PictureError as error:
            notes.append(f"label {name!r} not stored: {error}")
            left_out.append(cause(name, "cannot be read"))
    if rules.label_from_folder:
        values |= folder_label(picture.name)
    fitted = rules.labels.fit(values, _type_of)
    return Record(
        key,
        uri,
        picture.read,
        picture.size,
        fitted.values,
        (*notes, *fitted.notes),
        (*left_out, *fitted.left_out),
        fitted.types,
    )


def _labels_of(
    picture: Member, pictures: list[Member], others: list[Member], rules: SampleRules
) -> Iterator[tuple[str, Member]]:
    """Name and member of each label of a picture."""
    stems = {posixpath.splitext(each.name)[0] for each in pictures}
    own = posixpath.splitext(picture.name)[0]
    for member in others:
        stem, suffix = posixpath.splitext(member.name)
        if len(pictures) > 1 and stem in stems:
            if stem == own:
                yield suffix.lower().lstrip("."), member
        else:
            yield rules.extension(member.name), member


def _text_or_bytes(data: bytes, name: str, notes: list[str]) -> bytes | str:
    if _last(name) not in TEXT:
        return data
    try:
        return data.decode()
    except UnicodeDecodeError:
        notes.append(f"label {name!r} is not UTF-8 and was read as Latin-1")
        return data.decode("latin-1")


def _rest(run: list[Member], left_out: list[Member]) -> Iterator[list[Member]]:
    if run:
        yield run
    yield from ([each] for each in left_out)


def _is_too_long(count: int, size: int, member: Member, before: Member) -> bool:
    if count < MOST_MEMBERS and size < MOST_BYTES:
        return False
    same = posixpath.splitext(member.name)[0] == posixpath.splitext(before.name)[0]
    return not same or count >= 4 * MOST_MEMBERS


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _kind(name: str, whole: bool) -> pa.DataType:
    if _last(name) in INTEGER:
        return pa.int64() if whole else pa.string()
    return pa.string() if _last(name) in TEXT else pa.large_binary()


def _type_of(name: str, value: Any) -> pa.DataType:
    """Return the type of a label that was found late."""
    return _kind(name, _last(name) in INTEGER and _is_integer(value))


def _is_integer(value: bytes | str) -> bool:
    try:
        return fit(value, pa.int64()) is not None
    except MISFITS:
        return False
