"""The intermediate results of a model, each under its name, taken from the line that makes it.

    steps = Steps()
    scores = model(images, steps=steps)
    steps["z_0"]  # the sequence that enters the encoder, (B, n+1, d)
    steps["block_12"]["weights"]  # A' of every head of the last block, (B, h, n+1, n+1)

In a model's `forward` such a line reads `weights = steps["weights"] = attention_weights(scores)`. Where steps are asked
for, everything is computed as the topic files say, since the faster paths never have most of these results.
"""


class Steps(dict):
    """Results by name; a part of the model that is there several times, such as a block, has `Steps` of its own."""

    def of(self, part: str) -> "Steps":
        """The steps of a part, from now on in `self[part]`."""
        self[part] = Steps()
        return self[part]


class _Unseen(Steps):
    """Takes steps and forgets them."""

    def __setitem__(self, name: str, result: object) -> None:
        pass

    def of(self, part: str) -> Steps:
        return self


UNSEEN = _Unseen()  # where nobody asks for steps
