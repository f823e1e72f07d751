from __future__ import annotations

import pickle

import pyarrow.fs
import pytest
from pyarrow.fs import FileSelector, FileType

from workers.storage import open_store
from workers.train.run_storage import run_storage


@pytest.fixture
def bucket(s3):
    return s3.bucket()


def test_a_folder_needs_no_adapter(tmp_path):
    """
    Ray writes to this machine's files itself, under the full path.
    """
    assert (str(tmp_path / "training"), None) == run_storage(str(tmp_path / "training"))


def test_a_checkpoint_goes_there_and_back(bucket, tmp_path):
    """
    Ray's own way of copying a folder to its storage and back gives the same files.
    """
    (tmp_path / "from" / "deep").mkdir(parents=True)
    (tmp_path / "from" / "a.bin").write_bytes(b"a" * 100_000)
    (tmp_path / "from" / "deep" / "b.bin").write_bytes(b"")
    root, filesystem = run_storage(f"{bucket}/training")
    filesystem = pickle.loads(pickle.dumps(filesystem))
    pyarrow.fs.copy_files(str(tmp_path / "from"), f"{root}/run/epoch-1", destination_filesystem=filesystem)
    pyarrow.fs.copy_files(f"{root}/run/epoch-1", str(tmp_path / "to"), source_filesystem=filesystem)

    assert {"run/epoch-1/a.bin", "run/epoch-1/deep/b.bin"} == {
        entry.key for entry in open_store(f"{bucket}/training").list()
    }
    assert b"a" * 100_000 == (tmp_path / "to" / "a.bin").read_bytes()
    assert b"" == (tmp_path / "to" / "deep" / "b.bin").read_bytes()


def test_folders_are_what_keys_have_in_common(bucket):
    """
    A listing shows files and folders; what is deleted is gone; what is not there is not found.
    """
    root, filesystem = run_storage(bucket)
    for name in ("run/a", "run/deep/er/b", "runner"):
        with filesystem.open_output_stream(f"{root}/{name}") as stream:
            stream.write(b"x")
    found = filesystem.get_file_info(FileSelector(f"{root}/run", recursive=True))

    assert {
        f"{root}/run/a": FileType.File,
        f"{root}/run/deep": FileType.Directory,
        f"{root}/run/deep/er": FileType.Directory,
        f"{root}/run/deep/er/b": FileType.File,
    } == {info.path: info.type for info in found}
    assert FileType.Directory == filesystem.get_file_info(f"{root}/run").type
    assert FileType.File == filesystem.get_file_info(f"{root}/runner").type

    filesystem.delete_dir(f"{root}/run")

    assert FileType.NotFound == filesystem.get_file_info(f"{root}/run").type
    assert FileType.File == filesystem.get_file_info(f"{root}/runner").type
    with pytest.raises(FileNotFoundError):
        filesystem.open_input_stream(f"{root}/run/a")
