"""Files of word vectors: what is written is read again, by gensim too; what is no such file is told."""

import numpy as np
import pytest

from lmlab import vector_files
from lmlab.errors import DataError, InputMissing
from lmlab.vector_files import FORMATS

WORDS = ["cat", "naïve", "new_york", "猫"]
VECTORS = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)


def saved(tmp_path, name):
    file, save = FORMATS[name]
    save(tmp_path / file, WORDS, VECTORS)
    return tmp_path / file


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read_again(tmp_path, name):
    words, vectors = zip(*vector_files.read(saved(tmp_path, name)), strict=True)
    assert list(words) == WORDS
    np.testing.assert_allclose(np.stack(vectors), VECTORS, rtol=1e-6)


@pytest.mark.parametrize(("name", "binary"), [("word2vec", False), ("word2vec_binary", True)])
def test_gensim_reads_what_is_written_and_writes_what_is_read(tmp_path, name, binary):
    models = pytest.importorskip("gensim.models")
    path = saved(tmp_path, name)
    theirs = models.KeyedVectors.load_word2vec_format(path, binary=binary)
    assert theirs.index_to_key == WORDS
    np.testing.assert_allclose(theirs.vectors, VECTORS, rtol=1e-6)
    theirs.save_word2vec_format(path, binary=binary)
    words, vectors = zip(*vector_files.read(path), strict=True)
    assert list(words) == WORDS
    np.testing.assert_allclose(np.stack(vectors), VECTORS, rtol=1e-6)


def test_a_file_of_glove_has_no_line_of_its_size(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text("the 0.1 0.2\ncat 0.3 -4e-1\n")
    words, vectors = zip(*vector_files.read(path), strict=True)
    assert words == ("the", "cat")
    np.testing.assert_allclose(np.stack(vectors), [[0.1, 0.2], [0.3, -0.4]], rtol=1e-6)


@pytest.mark.parametrize("text", ["2 2\ncat 1 2\ndog 1\n", "2 2\ncat 1 2\ndog 1 much\n", "cat\ndog\n"])
def test_a_line_that_is_no_vector_is_named(tmp_path, text):
    path = tmp_path / "vectors.txt"
    path.write_text(text)
    with pytest.raises(DataError, match="numbers expected") as error:
        list(vector_files.read(path))
    assert f"{path}:" in str(error.value)


def test_a_cut_binary_file_and_one_of_another_kind(tmp_path):
    path = saved(tmp_path, "word2vec_binary")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="ends after 3 of 4 words"):
        list(vector_files.read(path))
    path.write_bytes(b"\x80\x02}q\x00")
    with pytest.raises(DataError, match="no line of its size"):
        list(vector_files.read(path))
    other = tmp_path / "model.safetensors"
    other.write_bytes(b"\x80\x02}q\x00")
    with pytest.raises(DataError, match="no safetensors file"):
        list(vector_files.read(other))
    with pytest.raises(InputMissing, match="no word vectors"):
        vector_files.read(tmp_path / "none.txt")
