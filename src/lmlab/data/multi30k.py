"""Multi30k: 29,000 captions of photos in English, with their translations into German (Elliott et al., 2016)."""

from lmlab.data.parallel import Parallel
from lmlab.data.sources import SPLIT_NAMES


class Multi30k(Parallel):
    """One sentence to another; the test split is that of 2016."""

    official_splits = {"test": "test_2016_flickr"}
    split_files = SPLIT_NAMES | {"test_2016_flickr": "test"}
