"""The registry, once in a folder and once in a bucket."""

from __future__ import annotations

import json
import re
import threading
from multiprocessing import get_context
from pathlib import Path

import pytest

from lga_model.checkpoint import load_model
from workers.engines import EngineError, EngineRecord
from workers.errors import ConditionFailed, ObjectMissing, SettingsError, StorageError
from workers.registry import Registry
from workers.storage import FolderStore, open_store


@pytest.fixture
def registry(store_uri) -> Registry:
    return Registry(store_uri)


def test_a_published_version_comes_back_byte_for_byte(registry, make_bundle, tmp_path):
    """
    What was published is what is fetched, and it loads as a model.
    """
    bundle = make_bundle()
    fetched = registry.fetch(registry.publish("pose", bundle), tmp_path / "cache")

    assert {p.name: p.read_bytes() for p in bundle.iterdir()} == {p.name: p.read_bytes() for p in fetched.iterdir()}
    assert ("climbing", "cooking", "running") == load_model(fetched)[1].config.classes


def test_the_files_lie_where_the_design_says(registry, make_bundle):
    """
    <name>/versions/0001 with four files, <name>/aliases/production.json.
    """
    registry.promote(registry.publish("pose", make_bundle()), "production")

    assert [
        "pose/aliases/production.json",
        "pose/versions/0001/metrics.json",
        "pose/versions/0001/model.json",
        "pose/versions/0001/model.safetensors",
        "pose/versions/0001/training.json",
    ] == [info.key for info in open_store(registry.uri).list()]


def test_versions_count_up_for_each_model(registry, make_bundle):
    """
    Each model has its own numbers, from 1.
    """
    bundle = make_bundle()
    published = [str(registry.publish(name, bundle)) for name in ("pose", "pose", "other.model")]

    assert ["pose:1", "pose:2", "other.model:1"] == published
    assert ["other.model", "pose"] == registry.names()
    assert ["pose:1", "pose:2"] == [str(version) for version in registry.versions("pose")]


def test_simultaneous_publishers_get_different_numbers(registry, make_bundle):
    """
    Eight publishers at once make eight versions, each whole and each with its publisher's own lineage.
    """
    bundles = [make_bundle(seed=seed) for seed in range(8)]
    for number, bundle in enumerate(bundles):
        (bundle / "training.json").write_text(json.dumps({"publisher": number}))
    start = threading.Barrier(8)
    published = {}

    def publish(number: int) -> None:
        start.wait()
        published[number] = registry.publish("pose", bundles[number])

    run_all([threading.Thread(target=publish, args=(number,)) for number in range(8)])
    versions = registry.versions("pose")

    assert 8 == len({version.number for version in published.values()})
    assert sorted(str(version) for version in published.values()) == sorted(str(version) for version in versions)
    for number, version in published.items():
        store = open_store(version.uri)
        assert {"publisher": number} == json.loads(store.get("training.json").data)
        assert (bundles[number] / "model.json").read_bytes() == store.get("model.json").data


def test_a_version_without_its_last_file_does_not_exist(registry, make_bundle):
    """
    A publisher that died leaves a number that is neither listed nor found nor used again.
    """
    open_store(registry.uri).put("pose/versions/0001/training.json", b"{}")
    version = registry.publish("pose", make_bundle())

    assert "pose:2" == str(version)
    assert [version] == registry.versions("pose")
    with pytest.raises(SettingsError, match=re.escape("there is no model pose:1")):
        registry.resolve("pose:1")


@pytest.mark.parametrize("name", ["../pose", "a/b", "", "Pose", ".hidden", "a" * 64, "a\n"])
def test_a_name_cannot_lead_out_of_the_registry(name, tmp_path, make_bundle):
    """
    Names that are paths, or that no bucket likes, are refused before anything is written.
    """
    registry = Registry(str(tmp_path / "registry"))
    with pytest.raises(SettingsError, match="cannot name a model"):
        registry.publish(name, make_bundle())

    assert not (tmp_path / "registry").exists()


@pytest.mark.parametrize("alias", ["../production", "a/b", "", "Production", "1", "a.json"])
def test_an_alias_cannot_lead_out_of_the_registry(alias, tmp_path, make_bundle):
    """
    The same for aliases.
    """
    registry = Registry(str(tmp_path / "registry"))
    version = registry.publish("pose", make_bundle())
    with pytest.raises(SettingsError, match="cannot be an alias"):
        registry.promote(version, alias)

    assert {} == registry.aliases("pose")


def test_half_a_bundle_is_not_published(tmp_path, make_bundle):
    """
    Without weights, or with weights that the record does not name, there is no version.
    """
    registry = Registry(str(tmp_path / "registry"))
    empty = tmp_path / "empty"
    empty.mkdir()
    mixed = make_bundle(seed=1)
    (mixed / "model.safetensors").write_bytes((make_bundle(seed=2) / "model.safetensors").read_bytes())
    with pytest.raises(SettingsError, match=r"it has no|cannot read model"):
        registry.publish("pose", empty)
    with pytest.raises(SettingsError, match="sha256 differs"):
        registry.publish("pose", mixed)

    assert [] == registry.names()


def test_references_find_versions(registry, make_bundle):
    """
    NAME:VERSION, NAME@ALIAS and the version's own URI mean the same version.
    """
    registry.publish("pose", make_bundle())
    version = registry.publish("pose", make_bundle(seed=1))
    registry.promote(version, "production")

    assert version == registry.resolve("pose:2")
    assert version == registry.resolve("pose@production")
    assert version == registry.resolve(version.uri)


def test_a_bundle_outside_of_a_registry_has_number_0(tmp_path, make_bundle):
    """
    A folder with a model.json is a model, named after the folder; it can be fetched but never promoted.
    """
    registry = Registry(str(tmp_path / "registry"))
    bundle = make_bundle()
    version = registry.resolve(str(bundle))
    with pytest.raises(SettingsError, match="only a published version"):
        registry.promote(version, "production")

    assert (bundle.name, 0) == (version.name, version.number)
    assert load_model(registry.fetch(version, tmp_path / "cache"))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("other:1", r"there is no model other:1 .*there is: models pose"),
        ("pose:7", r"there is no model pose:7 .*there is: pose:1, pose@production"),
        ("pose@best", r"there is no pose@best .*lga models promote --model pose:VERSION --alias best"),
        ("pose", r"'pose' is neither NAME:VERSION.*pose:1"),
        ("../pose:1", r"neither NAME:VERSION"),
        ("pose@../x", r"neither NAME:VERSION"),
    ],
)
def test_an_unknown_reference_says_what_there_is(registry, make_bundle, reference, message):
    """
    The message names what was asked for, what there is, and the way on.
    """
    registry.promote(registry.publish("pose", make_bundle()), "production")
    with pytest.raises(SettingsError, match=message):
        registry.resolve(reference)


def test_an_empty_registry_says_how_to_fill_it(registry):
    """
    A registry that nobody wrote to is empty, not an error, and says which command publishes.
    """
    assert [] == registry.names()
    with pytest.raises(SettingsError, match="lga train"):
        registry.resolve("pose:1")


def test_a_missing_bucket_is_not_an_empty_registry(s3):
    """
    A mistyped bucket is told as such.
    """
    with pytest.raises(ObjectMissing, match="no such bucket"):
        Registry("s3://there-is-no-such-bucket-here/registry").names()


def test_a_rollback_goes_back_through_the_promotions(registry, make_bundle):
    """
    1, 2, 3 promoted: back to 2, back to 1, then there is nothing before. A promotion starts anew from there.
    """
    bundle = make_bundle()
    versions = [registry.publish("pose", bundle) for _ in range(4)]
    for version in versions[:3]:
        registry.promote(version, "production")
    seen = [registry.roll_back("pose", "production"), registry.roll_back("pose", "production")]
    with pytest.raises(SettingsError, match="held no version before pose:1"):
        registry.roll_back("pose", "production")
    registry.promote(versions[3], "production")

    assert [versions[1], versions[0]] == seen
    assert versions[0] == registry.roll_back("pose", "production")
    assert [1, 2, 3, 2, 1, 4, 1] == [move.version for move in registry.alias("pose", "production").history]


def test_a_rollback_to_a_version_that_is_gone_leaves_the_alias_alone(registry, make_bundle):
    """
    An alias that points at nothing would stop every job that names it; the message says what there is.
    """
    for seed in range(2):
        registry.promote(registry.publish("pose", make_bundle(seed=seed)), "production")
    open_store(registry.resolve("pose:1").uri).delete("model.json")
    with pytest.raises(SettingsError, match=r"there is no model pose:1 .*there is: pose:2"):
        registry.roll_back("pose", "production")

    assert {"production": 2} == registry.aliases("pose")


def test_promoting_what_is_promoted_changes_nothing(registry, make_bundle):
    """
    The same promotion twice is one move, so that a rollback goes to the version before.
    """
    first, second = (registry.publish("pose", make_bundle(seed=seed)) for seed in range(2))
    for version in (first, second, second):
        registry.promote(version, "production")

    assert first == registry.roll_back("pose", "production")


def test_an_alias_that_does_not_exist_cannot_be_rolled_back(registry, make_bundle):
    """
    The message says how to make it.
    """
    registry.publish("pose", make_bundle())
    with pytest.raises(SettingsError, match="there is no pose@production"):
        registry.roll_back("pose", "production")


def test_of_simultaneous_promotions_none_is_lost(registry, make_bundle):
    """
    Eight promotions at once: each one either is in the history or its caller was told that somebody was quicker.
    """
    bundle = make_bundle()
    versions = [registry.publish("pose", bundle) for _ in range(9)]
    registry.promote(versions[8], "production")
    start = threading.Barrier(8)
    told, moved = [], []

    def promote(number: int) -> None:
        start.wait()
        try:
            registry.promote(versions[number], "production")
        except ConditionFailed as error:
            told.append(str(error))
        else:
            moved.append(number + 1)

    run_all([threading.Thread(target=promote, args=(number,)) for number in range(8)])
    alias = registry.alias("pose", "production")

    assert 8 == len(moved) + len(told)
    assert sorted([9, *moved]) == sorted(move.version for move in alias.history)
    assert alias.version == alias.history[-1].version
    assert all("somebody else moved it at the same moment" in message for message in told)


def test_a_promotion_that_lost_the_race_says_who_won(tmp_path, make_bundle, monkeypatch):
    """
    Somebody promotes between our reading and our writing: ours is refused, theirs stays.
    """
    registry, other = Registry(str(tmp_path)), Registry(str(tmp_path))
    versions = [registry.publish("pose", make_bundle()) for _ in range(3)]
    registry.promote(versions[0], "production")
    put = FolderStore.put

    def put_after_the_other(store, key, data, **conditions):
        monkeypatch.setattr(FolderStore, "put", put)
        other.promote(versions[1], "production")
        return put(store, key, data, **conditions)

    monkeypatch.setattr(FolderStore, "put", put_after_the_other)
    with pytest.raises(ConditionFailed, match="moved it at the same moment, to pose:2"):
        registry.promote(versions[2], "production")

    assert {"production": 2} == registry.aliases("pose")


def test_a_promotion_whose_answer_was_lost_is_no_failure(tmp_path, make_bundle, monkeypatch):
    """
    The write arrived, its answer did not, the client sent it again and was refused: the alias is where we put it.
    """
    registry = Registry(str(tmp_path))
    version = registry.publish("pose", make_bundle())
    put = FolderStore.put

    def put_twice(store, key, data, **conditions):
        put(store, key, data, **conditions)
        return put(store, key, data, **conditions)

    monkeypatch.setattr(FolderStore, "put", put_twice)
    registry.promote(version, "production")

    assert {"production": 1} == registry.aliases("pose")


def test_a_publication_whose_answers_were_lost_is_no_failure(tmp_path, make_bundle, monkeypatch):
    """
    The same for each of a version's files: it costs a number at most, and the version is whole.
    """
    registry, put, answered = Registry(str(tmp_path)), FolderStore.put, set()

    def put_twice_at_first(store, key, data, **conditions):
        token = put(store, key, data, **conditions)
        if key not in answered:
            answered.add(key)
            return put(store, key, data, **conditions)
        return token

    monkeypatch.setattr(FolderStore, "put", put_twice_at_first)
    version = registry.publish("pose", make_bundle())
    load_model(registry.fetch(version, tmp_path / "cache"))

    assert [version] == registry.versions("pose")


def test_damaged_weights_are_not_handed_out(registry, make_bundle, tmp_path):
    """
    Weights that are not the ones that the record names never reach the cache.
    """
    version = registry.publish("pose", make_bundle())
    store = open_store(version.uri)
    store.put("model.safetensors", store.get("model.safetensors").data[:-1])
    with pytest.raises(StorageError, match="sha256 differs"):
        registry.fetch(version, tmp_path / "cache")

    assert [] == [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_damaged_record_is_told_as_such(tmp_path, make_bundle):
    """
    A model.json that is no JSON gives a message with its place, not a traceback.
    """
    registry = Registry(str(tmp_path / "registry"))
    version = registry.publish("pose", make_bundle())
    open_store(version.uri).put("model.json", b"[1, 2")
    with pytest.raises(StorageError, match=r"versions/0001/model\.json: it is not the record of a model"):
        registry.fetch(version, tmp_path / "cache")


def test_a_damaged_alias_is_told_as_such(tmp_path, make_bundle):
    """
    An alias that contradicts its own history is not believed.
    """
    registry = Registry(str(tmp_path / "registry"))
    registry.promote(registry.publish("pose", make_bundle()), "production")
    store = open_store(registry.uri)
    document = json.loads(store.get("pose/aliases/production.json").data)
    store.put("pose/aliases/production.json", json.dumps(document | {"version": 9}).encode())
    with pytest.raises(SettingsError, match="not where the history ends"):
        registry.resolve("pose@production")


def test_an_engine_comes_back_byte_for_byte(registry, tiny_source, torch_engine, tmp_path):
    """
    An engine that was added is listed with its record, and fetched whole.
    """
    version = registry.publish("tiny", tiny_source.bundle)
    added = registry.add_engine(version, torch_engine)
    (record,) = registry.engines(version)
    fetched = registry.fetch_engine(version, record, tmp_path / "cache")

    assert added
    assert EngineRecord.from_json((torch_engine / "engine.json").read_bytes(), "") == record
    assert {p.name: p.read_bytes() for p in torch_engine.iterdir()} == {
        p.name: p.read_bytes() for p in fetched.iterdir()
    }


def test_the_same_engine_is_added_once(registry, tiny_source, torch_engine):
    """
    Adding it again changes nothing and says so; an engine that was damaged in the registry is replaced.
    """
    version = registry.publish("tiny", tiny_source.bundle)
    registry.add_engine(version, torch_engine)
    again = registry.add_engine(version, torch_engine)
    (record,) = registry.engines(version)
    key = f"engines/{record.folder}/engine.bin"
    open_store(version.uri).put(key, b"damaged")
    mended = registry.add_engine(version, torch_engine)

    assert not again
    assert mended
    assert (torch_engine / "engine.bin").read_bytes() == open_store(version.uri).get(key).data


def test_a_tampered_engine_is_not_handed_out(registry, tiny_source, torch_engine, tmp_path):
    """
    Changed bytes in storage are refused with the command that makes the engine again.
    """
    version = registry.publish("tiny", tiny_source.bundle)
    registry.add_engine(version, torch_engine)
    (record,) = registry.engines(version)
    data = bytearray((torch_engine / "engine.bin").read_bytes())
    data[-1] ^= 1
    open_store(version.uri).put(f"engines/{record.folder}/engine.bin", bytes(data))
    with pytest.raises(EngineError, match=r"sha256 differs\); rebuild with: lga compile --model tiny:1 --target torch"):
        registry.fetch_engine(version, record, tmp_path / "cache")


def test_an_engine_of_another_model_is_refused(tmp_path, make_bundle, torch_engine):
    """
    An engine belongs to the weights that it was made from.
    """
    registry = Registry(str(tmp_path / "registry"))
    version = registry.publish("pose", make_bundle(seed=5))
    with pytest.raises(EngineError, match="made from other weights than those of pose:1"):
        registry.add_engine(version, torch_engine)

    assert [] == registry.engines(version)


def test_an_engine_without_proof_is_refused(tmp_path, tiny_source, torch_engine):
    """
    The registry takes no engine that was not compared with its model.
    """
    registry = Registry(str(tmp_path / "registry"))
    version = registry.publish("tiny", tiny_source.bundle)
    record = EngineRecord.from_json((torch_engine / "engine.json").read_bytes(), "")
    (torch_engine / "engine.json").write_bytes(record.model_copy(update={"parity": None}).to_json())
    with pytest.raises(EngineError, match="nothing proves"):
        registry.add_engine(version, torch_engine)


def test_an_engine_of_a_later_release_is_left_out(tmp_path, tiny_source, torch_engine, capsys):
    """
    What this release cannot read does not keep it from the engines that it can; the log tells.
    """
    registry = Registry(str(tmp_path / "registry"))
    version = registry.publish("tiny", tiny_source.bundle)
    registry.add_engine(version, torch_engine)
    document = json.loads((torch_engine / "engine.json").read_bytes()) | {"format": 2}
    open_store(version.uri).put("engines/quantum-1/engine.json", json.dumps(document).encode())

    assert ["torch"] == [record.target for record in registry.engines(version)]
    assert "registry.engine_skipped" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("model", "engine", "reason"),
    [
        ({"weights_sha256": "0" * 64}, {}, "made from other weights than those of tiny:1"),
        ({"calibration": {"temperature": 9.5}}, {}, "made with another calibration than that of tiny:1"),
        ({"preprocessing": "another"}, {}, "made with another preprocessing"),
        ({"config": {"classes": ["cooking", "climbing", "running"]}}, {}, "made with another config"),
        ({}, {"parity": None}, "nothing proves equal to tiny:1"),
    ],
)
def test_an_engine_that_was_copied_below_another_version_is_left_out(
    tmp_path, tiny_source, torch_engine, capsys, model, engine, reason
):
    """
    Whatever lies in a version's folder: only what was made from it and proven serves it. Compiling again mends it.
    """
    registry = Registry(str(tmp_path / "registry"))
    version = registry.publish("tiny", tiny_source.bundle)
    registry.add_engine(version, torch_engine)
    (record,) = registry.engines(version)
    store = open_store(version.uri)
    whole = store.get("model.json").data
    store.put("model.json", json.dumps(json.loads(whole) | model).encode())
    copied = record.model_copy(update=engine)
    store.put(f"engines/{record.folder}/engine.json", copied.to_json())
    found = registry.engines(version)
    store.put("model.json", whole)

    assert [] == found
    assert reason in "".join(capsys.readouterr())
    assert bool(engine) == registry.add_engine(version, torch_engine)
    assert [record] == registry.engines(version)


def fetch_in_a_process(uri: str, cache: str) -> str:
    registry = Registry(uri)
    return str(registry.fetch(registry.resolve("pose:1"), Path(cache)))


def test_processes_share_one_cache(tmp_path, make_bundle):
    """
    Three processes fetch the same version into the same cache at once: one folder, sound, and nothing left beside it.
    """
    registry = Registry(str(tmp_path / "registry"))
    registry.publish("pose", make_bundle())
    cache = tmp_path / "cache"
    with get_context("spawn").Pool(3) as pool:
        folders = pool.starmap(fetch_in_a_process, [(registry.uri, str(cache))] * 3)

    assert 1 == len(set(folders))
    assert [Path(folders[0])] == list((cache / "models").iterdir())
    assert load_model(Path(folders[0]))


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
