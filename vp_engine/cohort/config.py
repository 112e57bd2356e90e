"""What to do: `config.yaml` read, checked and frozen, before anything is started."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from vp_engine.agent.planner_files import BUILTIN, planner_files
from vp_engine.bids.names import anatomical_suffixes
from vp_engine.bids.text_tables import read_participants
from vp_engine.cohort.demo import MARKER, PARTICIPANT_COLUMNS, SESSION_COLUMNS
from vp_engine.cohort.statistic_config import StatisticConfig, check_statistic, numbers_of, statistic_of
from vp_engine.errors import ConfigError, InputRefused, WeightsError
from vp_engine.tables.schema import hint, validate
from vp_engine.volumes.intake import GateLimits

MAX_BYTES = 1 << 20
"""Largest configuration file that is read."""

MAX_DEPTH = 16
"""Deepest nesting that is read."""

DEADLINE_S = 3600
"""Longest that a participant may take, where the configuration does not say."""

DEMO_NAME = "demo"
DEMO_PATH = Path("demo")
"""Key and path, as written, of the dataset that the workflow makes itself when its folder is not there yet."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML was built with it
_CONTROL = ("Cc", "Cs", "Zl", "Zp")  # line ends, NUL, escapes of terminals, halves of characters
_ID_COLUMNS = ("participant_id", "session_id")  # `participant` and `session` in the tables


@dataclass(frozen=True, slots=True)
class DatasetConfig:
    """One BIDS dataset.

    Attributes
    ----------
    name : str
        Key in `datasets`; names the dataset in every table.
    path : Path
        Its folder; relative ones are taken from the folder of the configuration file.
    participants : tuple of str or None
        The ids asked for, without ``sub-``; None means all.
    exclude : tuple of str
        Ids left out.
    accept_form_mismatch : bool
        Scans whose sform and qform differ a lot are read by their sform instead of being refused.
    named_as_demo : bool
        Name and path are those of the demo cohort; nothing is made up under another path, which may be a slip.
    """

    name: str
    path: Path
    participants: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    accept_form_mismatch: bool = False
    named_as_demo: bool = False

    @property
    def limits(self) -> GateLimits:
        """What the intake gate accepts from this dataset."""
        return GateLimits(accept_form_mismatch=self.accept_form_mismatch)

    @property
    def is_demo(self) -> bool:
        """Whether the folder is, or is to become, the demo cohort."""
        return self.named_as_demo and (not self.path.exists() or (self.path / MARKER).is_file())


@dataclass(frozen=True, slots=True)
class PromptConfig:
    """One question to every session or participant.

    Attributes
    ----------
    id : str
        BIDS label; names files and rows.
    text : str
        The user's words.
    images : tuple of str
        Suffixes wanted (``T1w``); empty means every anatomical image of the session.
    scope : str
        ``session`` or ``participant``.
    """

    id: str
    text: str
    images: tuple[str, ...] = ()
    scope: str = "session"


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration.

    Attributes
    ----------
    file : Path
        Where it was read.
    datasets, prompts, statistics : tuple
        In the order of the file.
    output : Path
        Output folder; relative ones are taken from the folder of the configuration file.
    model : str
        ``default`` or a folder.
    planner : str
        ``builtin`` or the folder of a causal language model.
    deadline_s : int
        Longest that a participant may take.
    subjects_per_job : int or None
        Participants per shard; None means that the plan decides.
    streams : str
        ``alone``: each image is read by itself; ``together``: with the other contrasts of its session.
    """

    file: Path
    datasets: tuple[DatasetConfig, ...]
    output: Path
    prompts: tuple[PromptConfig, ...]
    model: str = "default"
    subjects_per_job: int | None = None
    streams: str = "alone"
    statistics: tuple[StatisticConfig, ...] = ()
    planner: str = BUILTIN
    deadline_s: int = DEADLINE_S

    def dataset(self, name: str) -> DatasetConfig:
        """Dataset by its key.

        Raises
        ------
        ConfigError
            If there is none of that name.
        """
        for dataset in self.datasets:
            if dataset.name == name:
                return dataset
        raise ConfigError(f"{self.file}: no dataset {name!r}{hint(name, [d.name for d in self.datasets])}")


def load_config(path: Path) -> Config:
    """Read and check a configuration file.

    Parameters
    ----------
    path : Path
        YAML file.

    Returns
    -------
    Config

    Raises
    ------
    ConfigError
        If anything in it is wrong; the message names the key and the nearest valid one.
    """
    content = read_yaml(path)
    _check_schema(content, path)
    _check_paths(content, path)
    config = _build(content, path)
    _check_meaning(config)
    return config


def read_yaml(path: Path) -> Any:
    """Content of a YAML file with every scalar as text, so that the id ``01`` stays ``01``.

    Raises
    ------
    ConfigError
        If the file is missing, too large, not YAML, or uses aliases, tags or a key twice.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_BYTES} bytes; a configuration is a short text file")
        text = path.read_text(encoding="utf-8")
        _refuse_aliases_and_depth(text, path)
        node = yaml.compose(text, Loader=_LOADER)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if node is None:
        raise ConfigError(f"{path}: empty; expected datasets, output and prompts")
    return _plain(node, path)


def _refuse_aliases_and_depth(text: str, path: Path) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        where = f"{path}:{event.start_mark.line + 1}" if event.start_mark else str(path)
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(f"{where}: YAML aliases are not allowed; write it out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ConfigError(f"{where}: brackets or indentation deeper than {MAX_DEPTH}")


def _plain(node: yaml.Node, path: Path) -> Any:
    where = f"{path}:{node.start_mark.line + 1}"
    if not node.tag.startswith("tag:yaml.org,2002:") or "python" in node.tag:
        raise ConfigError(f"{where}: YAML tags are not allowed, got {node.tag}")
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _plain(key_node, path)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise ConfigError(f"{path}:{line}: a key must be a plain word")
            if key in mapping:
                raise ConfigError(f"{path}:{line}: the key {key!r} is given twice")
            mapping[key] = _plain(value_node, path)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, path) for item in node.value]
    return str(node.value)


def _check_schema(content: Any, path: Path) -> None:
    for key in ("subjects_per_job", "deadline_s"):
        if isinstance(content, dict) and str(content.get(key, "")).isdecimal():
            content[key] = int(content[key])
    if isinstance(content, dict):
        numbers_of(content.get("statistics"))
    try:
        validate(content, "config")
    except ConfigError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in error.message.splitlines())) from error


def _build(content: dict[str, Any], path: Path) -> Config:
    folder = path.parent
    datasets = tuple(_dataset(name, entry, folder) for name, entry in content["datasets"].items())
    prompts = tuple(
        PromptConfig(
            id=entry["id"],
            text=entry["text"],
            images=tuple(entry.get("images", ())),
            scope=entry.get("scope", "session"),
        )
        for entry in content["prompts"]
    )
    statistics = tuple(map(statistic_of, content.get("statistics", ())))
    jobs = content.get("subjects_per_job", "auto")
    model = content.get("model", "default")
    planner = content.get("agent", {}).get("planner", BUILTIN)
    return Config(
        file=path,
        datasets=datasets,
        output=folder / content["output"],
        prompts=prompts,
        model=model if model == "default" else str(folder / model),
        subjects_per_job=None if jobs == "auto" else int(jobs),
        streams=content.get("streams", "alone"),
        statistics=statistics,
        planner=planner if planner == BUILTIN else str(folder / planner),
        deadline_s=content.get("deadline_s", DEADLINE_S),
    )


def _dataset(name: str, entry: dict[str, Any], folder: Path) -> DatasetConfig:
    wanted = entry.get("participants", "all")
    listed = wanted["exclude"] if isinstance(wanted, dict) else wanted
    ids = () if listed == "all" else tuple(sorted({label.removeprefix("sub-") for label in listed}))
    return DatasetConfig(
        name=name,
        path=folder / entry["path"],
        participants=ids if isinstance(wanted, list) else None,
        exclude=ids if isinstance(wanted, dict) else (),
        accept_form_mismatch=entry.get("form_mismatch") == "accept",
        named_as_demo=(name, Path(entry["path"])) == (DEMO_NAME, DEMO_PATH),
    )


def _check_paths(content: dict[str, Any], path: Path) -> None:
    named = {f"datasets.{name}.path": entry["path"] for name, entry in content["datasets"].items()}
    named |= {key: content[key] for key in ("output", "model") if key in content}
    named |= {f"agent.{key}": value for key, value in content.get("agent", {}).items()}
    for key, value in named.items():
        if odd := [letter for letter in value if unicodedata.category(letter) in _CONTROL]:
            raise ConfigError(f"{path}: {key}: expected a path without control characters, got U+{ord(odd[0]):04X}")
        if set(value) & set("{}"):
            raise ConfigError(f"{path}: {key}: expected a path without braces, which Snakemake takes for wildcards")


def _check_meaning(config: Config) -> None:
    for kind, ids in (
        ("prompts", [prompt.id for prompt in config.prompts]),
        ("statistics", [statistic.id for statistic in config.statistics]),
    ):
        # files and BIDS labels of two ids that differ in case only would collide on many file systems
        folded = [name.casefold() for name in ids]
        for index, name in enumerate(folded):
            if name in folded[:index]:
                raise ConfigError(
                    f"{config.file}: {kind}[{index}].id: {ids[index]!r} is given twice; ids must be unique"
                )
    for index, prompt in enumerate(config.prompts):
        require_text(prompt.text, f"{config.file}: prompts[{index}].text")
        for suffix in prompt.images:
            if suffix not in anatomical_suffixes():
                close = hint(suffix, anatomical_suffixes())
                raise ConfigError(f"{config.file}: prompts[{index}].images: no anatomical image {suffix!r}{close}")
    for dataset in config.datasets:
        _check_dataset(dataset, config.file)
    for index, statistic in enumerate(config.statistics):
        check_statistic(
            statistic,
            f"{config.file}: statistics[{index}]",
            prompts=[prompt.id for prompt in config.prompts],
            datasets=[dataset.name for dataset in config.datasets],
            headers=(columns for dataset in config.datasets for columns in _columns_of(dataset)),
        )
    if config.model != "default" and not Path(config.model).is_dir():
        raise ConfigError(f"{config.file}: model: no folder {config.model}; give 'default' or a folder with weights")
    _check_planner(config)


def require_text(prompt: str, where: str) -> None:
    """Refuse a prompt with half of a character (a lone surrogate), which no file can hold.

    Raises
    ------
    ConfigError
    """
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{where}: expected text, got half of a character at position {error.start}; write it anew in UTF-8"
        ) from error


def _check_planner(config: Config) -> None:
    if config.planner == BUILTIN:
        return
    try:
        planner_files(Path(config.planner))
    except WeightsError as error:
        raise ConfigError(f"{config.file}: agent.planner: {error.message}") from error


def _check_dataset(dataset: DatasetConfig, file: Path) -> None:
    key = f"{file}: datasets.{dataset.name}"
    if not dataset.path.is_dir():
        if dataset.is_demo and not dataset.path.exists():
            return
        siblings = [p.name for p in dataset.path.parent.iterdir() if p.is_dir()] if dataset.path.parent.is_dir() else []
        raise ConfigError(f"{key}.path: no folder {dataset.path}{hint(dataset.path.name, siblings)}")
    if not (dataset.path / "dataset_description.json").is_file():
        raise ConfigError(f"{key}.path: {dataset.path} is not a BIDS dataset (no dataset_description.json)")
    for participant in (*(dataset.participants or ()), *dataset.exclude):
        if not (dataset.path / f"sub-{participant}").is_dir():
            if participant in dataset.exclude and participant in _announced_ids(dataset.path):
                continue
            known = [p.name.removeprefix("sub-") for p in dataset.path.glob("sub-*") if p.is_dir()]
            raise ConfigError(f"{key}.participants: no folder sub-{participant}{hint(participant, known)}")


def _announced_ids(root: Path) -> set[str]:
    """Ids of participants.tsv: who has no folder gets rows too, and so may be left out."""
    try:
        return set(map(str, read_participants(root).column("participant_id")))
    except InputRefused:
        return set()  # a finding of the plan


def _columns_of(dataset: DatasetConfig) -> Iterator[list[str]]:
    """Covariates of participants.tsv and of every sessions.tsv, one at a time: reading stops when all is found."""
    if not dataset.path.exists():
        headers: Iterator[list[str]] = iter([[*PARTICIPANT_COLUMNS, *SESSION_COLUMNS]])
    else:
        folders = sorted(dataset.path.glob("sub-*"))
        tables = [dataset.path / "participants.tsv", *(folder / f"{folder.name}_sessions.tsv" for folder in folders)]
        headers = map(_header, tables)
    for header in headers:
        yield [column for column in header if column not in _ID_COLUMNS]


def _header(path: Path) -> list[str]:
    try:
        if not path.is_file():  # a pipe would be waited for
            return []
        with path.open(encoding="utf-8-sig", errors="replace") as lines:
            return lines.readline(65536).rstrip("\r\n").split("\t")
    except OSError:
        # the file is optional in BIDS; a column that is missing because of it is reported by its own name
        return []
