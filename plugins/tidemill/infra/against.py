"""Where specs and their infrastructure disagree: against a root as it was written and set, and against what stands."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from tidemill.infra.generate import PROVIDERS, files_of, root_of
from tidemill.infra.hcl import Block
from tidemill.infra.needs import InfraProblem, Needs
from tidemill.infra.reading import Item, read
from tidemill.infra.root import Root
from tidemill.infra.written import INFRA, lock_of

Kind = Literal["missing", "different", "superfluous"]
_COMPARED: Final = ("module", "data", "resource")
_PLACE: Final = re.compile(r".+?:\d+ ")
_SHOWN: Final = 80


@dataclass(frozen=True)
class Disagreement:
    """One thing on which they disagree. ``spec`` and ``infra``: the place on each side, where it has one."""

    kind: Kind
    what: str
    spec: str | None
    infra: str | None
    message: str

    def to_json(self) -> dict[str, Any]:
        """As ``tidemill validate --against --json`` prints it."""
        return {"kind": self.kind, "what": self.what, "spec": self.spec, "infra": self.infra, "message": self.message}

    def __str__(self) -> str:
        places = " and ".join(place for place in (self.spec, self.infra) if place)
        return f"{places}: {self.message}"


@dataclass(frozen=True)
class Value:
    """A variable's value in a folder, and where it is said last."""

    value: Any
    place: str


class Written:
    """A root in its folder: the blocks of its files, and its variables with what people set.

    Raises:
        InfraProblem: nothing of the kind is there, or a file cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise InfraProblem(f"{folder}: there is no such folder; --against names one that tidemill infra wrote")
        if not lock_of(folder / INFRA.lock):
            state = "is empty" if not any(folder.iterdir()) else f"has no {INFRA.lock}"
            raise InfraProblem(f"{folder} {state}: tidemill infra did not write it; name the folder of its --output")
        self.blocks: dict[tuple[str, ...], tuple[Item, Path]] = {}
        for file in sorted(folder.glob("*.tf")):
            for item in read(_text(file), str(file)):
                self.blocks[(item.name, *item.labels)] = (item, file)
        self.values = self._values()

    @property
    def provider(self) -> str | None:
        """Whose infrastructure it is, in Tidemill's words."""
        found, _ = self.blocks.get(("terraform",), (None, None))
        needed = found.attributes.get("required_providers") if found is not None else None
        names = set(needed.attributes) if needed is not None else set()
        return next((name for name, (source, _) in PROVIDERS.items() if source.rpartition("/")[2] in names), None)

    def place(self, *block: str) -> str:
        """Where a block is."""
        item, file = self.blocks[block]
        return f"{file}:{item.line}"

    def _values(self) -> dict[str, Value]:
        """Each variable's value as Terraform takes it: its default, then these files in order. Values on a command line
        or in the environment are not known here."""
        found: dict[str, Value] = {}
        for (kind, *labels), (item, file) in self.blocks.items():
            if kind == "variable" and labels:
                default = item.attributes.get("default")
                found[labels[0]] = Value(default.value if default else None, f"{file}:{item.line}")
        first = [self.folder / "terraform.tfvars", self.folder / "terraform.tfvars.json"]
        own = sorted((*self.folder.glob("*.auto.tfvars"), *self.folder.glob("*.auto.tfvars.json")))
        for file in (*(file for file in first if file.exists()), *own):
            found |= {name: value for name, value in _set_in(file) if name in found}
        return found


def disagreements(needs: Needs, folder: Path, outputs: Path | None = None) -> list[Disagreement]:
    """Where some specs' needs and a root disagree; ``outputs``: also what ``terraform output -json`` told of it.

    Raises:
        InfraProblem: the folder is no root of this provider, or a file cannot be read.
    """
    written = Written(folder)
    if written.provider != needs.provider:
        asked = needs.pipelines[0].asked("platform.provider")
        raise InfraProblem(
            f"{folder} is for {written.provider or 'another provider'}, and {asked} is {needs.provider}: name the "
            "folder that was written for these specs"
        )
    prefix = written.values.get("prefix")
    root = root_of(needs, str(prefix.value) if prefix else "tidemill")
    strangers = list(_strangers(needs, written))
    found = [*strangers, *_variables(root, written), *_blocks(needs, root, written, whole=not strangers)]
    if outputs is not None:
        found += _standing(needs, outputs)
    return found


def _strangers(needs: Needs, written: Written) -> Iterator[Disagreement]:
    """Pipelines that the root was written for, and that are none of these."""
    item, _ = written.blocks.get(("output", "platform"), (None, None))
    value = item.attributes["value"].value if item is not None and "value" in item.attributes else {}
    names = {pipeline.name for pipeline in needs.pipelines}
    for name in sorted(value.keys() - names) if isinstance(value, dict) else ():
        message = (
            f"it was written for {name}, too, which is none of these specs: name its spec as well, or write it again"
        )
        yield Disagreement("superfluous", name, None, written.place("output", "platform"), message)


def _variables(root: Root, written: Written) -> Iterator[Disagreement]:
    """What specs name: each name is a variable."""
    for name, variable in root.variables.items():
        there = written.values.get(name)
        if not variable.asked or there is None or _plain(there.value) == _plain(variable.default):
            continue
        asked = variable.asked[0]
        message = f"{name} is {_shown(variable.default)} in the spec, and {_shown(there.value)} in the infrastructure"
        yield Disagreement("different", name, str(asked), there.place, message)


def _blocks(needs: Needs, root: Root, written: Written, *, whole: bool) -> Iterator[Disagreement]:
    """What is created and allowed. Not ``whole``: these are some of the specs alone, and others may need more."""
    places = _places(root)
    wanted: dict[tuple[str, ...], Item] = {}
    for path, text in files_of(needs, "tidemill").items():
        if path.endswith(".tf") and "/" not in path:
            wanted |= {(item.name, *item.labels): item for item in read(text, path) if item.name in _COMPARED}
    there = {key: item for key, (item, _) in written.blocks.items() if key[0] in _COMPARED}
    ours = {key for key in there if written.blocks[key][1].name in lock_of(written.folder / INFRA.lock)}
    missing = [key for key in wanted if key not in there]
    more = [key for key in there if key not in wanted and key in ours] if whole else []
    for key in missing:
        other = next((one for one in more if _alike(there[one], wanted[key])), None)
        told = f"{_named(key)} is needed, and "
        if other is None:
            yield Disagreement("missing", key[-1], places.get(key), str(written.folder), f"{told}is not there")
        else:
            more.remove(other)
            message = f"{told}{_named(other)} is there instead"
            yield Disagreement("different", key[-1], places.get(key), written.place(*other), message)
    for key in more:
        yield Disagreement("superfluous", key[-1], None, written.place(*key), f"{_named(key)} is needed by no spec")
    for key in wanted:
        if whole and key in there:
            yield from _inside(key, wanted[key], there[key], places.get(key), written)


def _inside(
    key: tuple[str, ...], wanted: Item, there: Item, place: str | None, written: Written
) -> Iterator[Disagreement]:
    """The arguments of one block."""
    ours, theirs = _content(wanted), _content(there)
    names = [name for name in dict.fromkeys((*ours, *theirs)) if ours.get(name) != theirs.get(name)]
    if not names:
        return
    line = next((item.line for item in there.body if item.name == names[0]), there.line)
    _, file = written.blocks[key]
    message = f"{', '.join(names)} of {_named(key)} {'is' if len(names) == 1 else 'are'} not what the specs need"
    yield Disagreement("different", key[-1], place, f"{file}:{line}", message)


def _content(block: Item) -> dict[str, Any]:
    """A block's arguments, and its blocks of each kind, however they are spaced and commented."""
    found: dict[str, Any] = {}
    for item in block.body:
        if item.body or item.labels:
            found.setdefault(item.name, []).append((item.labels, _content(item)))
        else:
            found[item.name] = item.value
    return found


def _alike(one: Item, other: Item) -> bool:
    """Whether both create the same kind of thing."""
    return one.name == other.name == "module" and _content(one)["source"] == _content(other)["source"]


def _places(root: Root) -> dict[tuple[str, ...], str]:
    """Who asked for each block: the first place that its comment names."""
    found: dict[tuple[str, ...], str] = {}
    for block in (*root.main, *root.access):
        if isinstance(block, Block):
            place = next((line for line in block.comment.splitlines() if _PLACE.match(line)), None)
            if place is not None:
                found[(block.kind, *block.labels)] = place
    return found


def _standing(needs: Needs, file: Path) -> Iterator[Disagreement]:
    """What the specs' ``platform:`` sections say, and what stands."""
    text = _text(file)
    try:
        told = json.loads(text)["platform"]["value"]
        pipelines: Mapping[str, Mapping[str, Any]] = {name: dict(values) for name, values in told.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InfraProblem(
            f"{file} does not hold the outputs of a root that was applied: write it by `terraform output -json`"
        ) from None
    for pipeline in needs.pipelines:
        values = pipelines.get(pipeline.name)
        if values is None:
            message = f"nothing stands for {pipeline.name}: apply the infrastructure"
            yield Disagreement("missing", pipeline.name, str(pipeline.asked("platform")), str(file), message)
            continue
        for key, stands in sorted(values.items()):
            asked = pipeline.platform.model_dump(mode="json").get(key)
            if asked is None or not isinstance(stands, str) or _address(asked) == _address(stands):
                continue
            place = f"{file}:{_line(text, pipeline.name, key)}"
            message = f"{key} is {_shown(asked)} in the spec, and {_shown(stands)} stands"
            yield Disagreement("different", key, str(pipeline.asked(f"platform.{key}")), place, message)
    names = {pipeline.name for pipeline in needs.pipelines}
    for name in sorted(pipelines.keys() - names):
        message = f"it stands for {name}, too, which is none of these specs"
        yield Disagreement("superfluous", name, None, f"{file}:{_line(text, name)}", message)


def _line(text: str, *keys: str) -> int:
    """The line of a key within the value of the output ``platform``."""
    at = 0
    for key in ("platform", "value", *keys):
        at = max(at, text.find(json.dumps(key), at))
    return text.count("\n", 0, at) + 1


def _set_in(file: Path) -> Iterator[tuple[str, Value]]:
    """The values that a file of variables sets."""
    if file.suffix != ".json":
        yield from ((item.name, Value(item.value, f"{file}:{item.line}")) for item in read(_text(file), str(file)))
        return
    try:
        told = json.loads(_text(file))
        yield from ((name, Value(value, str(file))) for name, value in told.items())
    except (ValueError, AttributeError):
        raise InfraProblem(f"{file}: it is no JSON object of variables") from None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InfraProblem(f"{file} is not written in UTF-8") from None
    except OSError as e:
        raise InfraProblem(f"cannot read {file}: {e.strerror}") from None


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else None if value is None else str(value)


def _address(value: Any) -> str:
    return str(value).rstrip("/")


def _named(key: tuple[str, ...]) -> str:
    return f"{key[0]} {key[-1]}"


def _shown(value: Any) -> str:
    text = "not set" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
