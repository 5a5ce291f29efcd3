"""Text to ids and back: characters, bytes, words, BPE, WordPiece and Unigram pieces, all through `tokenizers`."""

import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Pipeline

from lmlab.errors import ConfigError, DataError, InputMissing
from lmlab.phrases import learn_phrases
from lmlab.published import tokenizer_file
from lmlab.ranges import NonNegativeInt, PositiveInt

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # unset, each later fork is told off on stderr

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PUBLISHED = (  # what others call them: BERT, RoBERTa, ALBERT; with fewer entries GPT-2 and Qwen, Llama, Gemma, T5
    dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIALS, strict=True)),
    {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"},
    {"pad": "<pad>", "unk": "<unk>", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    dict.fromkeys(("pad", "unk", "cls", "sep"), "<|endoftext|>"),
    {"pad": "<unk>", "unk": "<unk>", "cls": "<s>", "sep": "</s>"},
    {"pad": "<pad>", "unk": "<unk>", "cls": "<bos>", "sep": "<eos>"},
    dict.fromkeys(("pad", "unk", "sep"), "<|end_of_text|>") | {"cls": "<|begin_of_text|>"},
    {"pad": "<pad>", "unk": "<unk>", "cls": "</s>", "sep": "</s>"},
)
BYTES = 256


class Frame(NamedTuple):
    """The special ids before a text, between the two of a pair, and after the last."""

    begin: tuple[int, ...]
    between: tuple[int, ...]
    end: tuple[int, ...]


class Tokenizer:
    """A vocabulary that is trained once or loaded from a tokenizer.json, with the special ids that every kind has.

    `vocab_size` is the number of embedding rows a model gets; `len()` is how many entries were really learned. Kind
    `pretrained` takes the tokenizer.json of published weights or of a run, special ids and all: its `path` is what
    `weights=` may be.
    """

    pad_id, unk_id, cls_id, sep_id = range(4)  # [CLS] also begins a text, [SEP] also ends one
    mask_id: int | None = 4
    frame = Frame((2,), (3,), ())

    def __init__(
        self,
        kind: str,
        vocab_size: PositiveInt,
        *,
        min_frequency: PositiveInt = 2,
        lowercase: bool = False,
        phrases: NonNegativeInt = 0,
        path: str | Path | None = None,
    ) -> None:
        if kind not in (*KINDS, PRETRAINED):
            known = ", ".join((*KINDS, PRETRAINED))
            raise ConfigError(f"tokenizer.kind: unknown kind '{kind}'", fix=f"Choose one of: {known}")
        if kind == PRETRAINED and not path:
            raise ConfigError("tokenizer=pretrained is the tokenizer of weights=", "tokenizer", "Add weights=")
        smallest = len(SPECIALS) + (BYTES if kind in ("byte", "bpe") else 1)
        if vocab_size < smallest:
            raise ConfigError(f"tokenizer.vocab_size: at least {smallest} expected for {kind}, got {vocab_size}")
        self.kind, self.vocab_size = kind, vocab_size
        if phrases and kind != "word":
            raise ConfigError(f"phrases are made of words, not of what tokenizer={kind} learns", "tokenizer.phrases")
        if phrases and vocab_size - phrases < smallest:
            raise ConfigError(f"{phrases} phrases leave no room for words", "tokenizer.vocab_size", "Make it larger")
        self.min_frequency, self.lowercase, self.phrases = min_frequency, lowercase, phrases
        self.path = tokenizer_file(str(path)) if kind == PRETRAINED else Path(path) if path else None
        self._pipeline: Pipeline | None = None
        if self.path:
            self.load(self.path)

    @property
    def trained(self) -> bool:
        return self._pipeline is not None

    @property
    def recipe(self) -> dict:
        """What, beside the training text, decides the vocabulary."""
        return {
            "kind": self.kind,
            "vocab_size": self.vocab_size,
            "min_frequency": self.min_frequency,
            "lowercase": self.lowercase,
        } | ({"phrases": self.phrases} if self.phrases else {})

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the tokenizer.json."""
        return hashlib.sha256(self._ready().to_str().encode()).hexdigest()

    def train(self, texts: Iterable[str]) -> None:
        """Learn the vocabulary from `texts`, which are read once, and with phrases are held meanwhile.

        The trainers of `tokenizers` for wordpiece and unigram break ties by chance, so that two processes may learn
        slightly different pieces from one text: what counts is the tokenizer.json that a run keeps.
        """
        pipeline, trainer, options = KINDS[self.kind](self)
        if self.lowercase:
            steps = [normalizers.Lowercase()] + ([pipeline.normalizer] if pipeline.normalizer else [])
            pipeline.normalizer = normalizers.Sequence(steps)
        texts = list(texts) if self.phrases else texts
        if trainer is not None:
            options |= {"vocab_size": self.vocab_size - self.phrases, "special_tokens": list(SPECIALS)}
            pipeline.train_from_iterator(texts, trainer(show_progress=sys.stderr.isatty(), **options))
        if self.phrases:
            learn_phrases(pipeline, cast(list[str], texts), self.phrases, len(SPECIALS))
        self._adopt(pipeline, "the training text")

    def load(self, path: str | Path) -> None:
        """Take the vocabulary of a tokenizer.json, whatever `kind` says."""
        path = Path(path)
        if not path.is_file():
            raise InputMissing("no tokenizer file", str(path), "Give tokenizer.path= a tokenizer.json")
        try:
            pipeline = Pipeline.from_file(str(path))
        except Exception as error:  # `tokenizers` raises a bare Exception for every kind of bad file
            raise DataError(f"not a readable tokenizer.json: {error}", str(path), "Save it again") from error
        self._adopt(pipeline, str(path))

    def save(self, path: str | Path, frame: Frame | None = None) -> None:
        """Write the tokenizer.json; with `frame`, other programs frame texts by it, unless it says how already."""
        pipeline = self._ready()
        if frame is not None and pipeline.post_processor is None:
            pipeline = Pipeline.from_str(pipeline.to_str())
            begin, between, end = ([str(pipeline.id_to_token(i)) for i in part] for part in frame)
            known = {str(pipeline.id_to_token(i)): i for part in frame for i in part}
            second = [f"{name}:1" for name in ("$B", *end)]
            pipeline.post_processor = processors.TemplateProcessing(
                single=[*begin, "$A", *end], pair=[*begin, "$A", *between, *second], special_tokens=list(known.items())
            )
        pipeline.save(str(path))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, no special ids among them; runs on all cores."""
        return [encoding.ids for encoding in self._ready().encode_batch_fast(texts, add_special_tokens=False)]

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Where in each text each of its ids stands: its first character, and the one after its last."""
        return [encoding.offsets for encoding in self._ready().encode_batch(texts, add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special ids left out."""
        return self._ready().decode(list(ids), skip_special_tokens=True)

    def entries(self) -> list[str]:
        """What each id stands for, as the tokenizer.json writes it."""
        pipeline = self._ready()
        return [str(pipeline.id_to_token(i)) for i in range(len(self))]

    def __len__(self) -> int:
        return self._ready().get_vocab_size()

    @property
    def never(self) -> tuple[int, ...]:
        """The ids that stand for no text, but frame it or fill gaps; what ends a text is not among them."""
        special = (self.pad_id, self.unk_id, self.cls_id, self.mask_id)
        return tuple(id for id in special if id not in (self.sep_id, None))  # type: ignore[misc]

    def _ready(self) -> Pipeline:
        if self._pipeline is None:
            raise RuntimeError("the tokenizer was neither trained nor loaded")
        return self._pipeline

    def _adopt(self, pipeline: Pipeline, where: str) -> None:
        pipeline.no_padding()  # some published ones pad to a length of their own, and cut there
        pipeline.no_truncation()
        for names in PUBLISHED:
            found = {role: pipeline.token_to_id(name) for role, name in names.items()}
            ids = {role: id for role, id in found.items() if id is not None}
            if ids.keys() == names.keys():
                break
        else:
            known = ", or ".join(" ".join(dict.fromkeys(names.values())) for names in PUBLISHED)
            raise DataError(f"the special entries {known} are not there", where, "Train a new tokenizer")
        self.pad_id, self.unk_id, self.cls_id, self.sep_id = (ids[role] for role in ("pad", "unk", "cls", "sep"))
        self.mask_id = ids.get("mask")
        self.frame = frame_of(pipeline) or Frame((self.cls_id,), (self.sep_id,), ())
        if isinstance(pipeline.model, models.Unigram):
            pipeline = settled(pipeline)
        pipeline.encode_special_tokens = True  # a "[MASK]" that a user typed is text, never the special id
        self._pipeline = pipeline


def frame_of(pipeline: Pipeline) -> Frame | None:
    """The special ids that a tokenizer.json itself puts around texts; None if it puts none."""
    alone, pair = pipeline.encode("").ids, pipeline.encode("", "").ids
    if not alone:
        return None
    begins = pipeline.encode("a").special_tokens_mask[0]  # T5's ends a text and begins none
    begin, end = alone[:begins], alone[begins:]
    return Frame(tuple(begin), tuple(pair[len(begin) : len(pair) - len(end)]), tuple(end))


def settled(pipeline: Pipeline) -> Pipeline:
    """The pipeline as its tokenizer.json says: reading one may round the last digit of a unigram model's scores."""
    for _ in range(10):
        read = Pipeline.from_str(pipeline.to_str())
        if read.to_str() == pipeline.to_str():
            break
        pipeline = read
    return pipeline


# The kinds: a pipeline still to be trained, the class of its trainer and that trainer's own options.


def _char(spec: Tokenizer):
    pipeline = Pipeline(models.WordLevel(unk_token="[UNK]"))
    pipeline.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    pipeline.decoder = decoders.Fuse()
    return pipeline, trainers.WordLevelTrainer, {"min_frequency": spec.min_frequency}


def _byte(spec: Tokenizer):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pipeline = Pipeline(models.BPE(vocab={piece: i for i, piece in enumerate([*SPECIALS, *alphabet])}, merges=[]))
    pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pipeline.decoder = decoders.ByteLevel()
    pipeline.add_special_tokens(list(SPECIALS))
    return pipeline, None, {}


def _word(spec: Tokenizer):
    pipeline = Pipeline(models.WordLevel(unk_token="[UNK]"))
    pipeline.pre_tokenizer = pre_tokenizers.Whitespace()
    return pipeline, trainers.WordLevelTrainer, {"min_frequency": spec.min_frequency}


def _bpe(spec: Tokenizer):
    """Byte-level byte-pair encoding (Sennrich et al., 2016; Radford et al., 2019): no text is out of vocabulary."""
    pipeline = Pipeline(models.BPE())
    pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pipeline.decoder = decoders.ByteLevel()
    options = {"min_frequency": spec.min_frequency, "initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    return pipeline, trainers.BpeTrainer, options


def _wordpiece(spec: Tokenizer):
    """Wu et al., 2016, as BERT cuts it (Devlin et al., 2019)."""
    pipeline = Pipeline(models.WordPiece(unk_token="[UNK]"))
    pipeline.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=spec.lowercase)
    pipeline.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pipeline.decoder = decoders.WordPiece()
    return pipeline, trainers.WordPieceTrainer, {"min_frequency": spec.min_frequency}


def _unigram(spec: Tokenizer):
    """Kudo, 2018."""
    pipeline = Pipeline(models.Unigram())
    # brackets stand alone, so that no piece of a text can be the very string of a special entry
    brackets = pre_tokenizers.Split(Regex(r"[\[\]]"), "isolated")
    pipeline.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), brackets])
    pipeline.decoder = decoders.Metaspace()
    return pipeline, trainers.UnigramTrainer, {"unk_token": "[UNK]"}


KINDS = {"char": _char, "byte": _byte, "word": _word, "bpe": _bpe, "wordpiece": _wordpiece, "unigram": _unigram}
PRETRAINED = "pretrained"
