"""The room that a reader may skip: what the topic files say, computed faster or in less memory.

Where a topic's module has another path, its `forward` hands over to a function of this room in one line, with its own
parameters, and the function gives the same numbers and the same gradients:

    products         matrix products and convolutions by oneDNN, GELU in the same pass
    attention        the fused form, and the plain one where that is faster
    ffn              the FFN, and the Mix-FFN without its wide tensors in memory
    class_token      the last encoder block for the one token that a classifier reads; `vitlab.vit` takes it from its
                     own file, since it needs `vitlab.encoder`, whose parts need this room
    upsampling       bilinear upsampling as two small matrices; bands of rows that fit a processor's cache
    decoder          the All-MLP decoder, which fuses before it upsamples, and gives classes without logits
    argmax           the class of every pixel, without logits of full size
    cross_entropy    the loss of upsampled logits, without ever holding them all

`off` is the switch for all of it.
"""

from vitlab.fast.argmax import upsampled_argmax
from vitlab.fast.attention import attention
from vitlab.fast.cross_entropy import upsampled_cross_entropy
from vitlab.fast.decoder import all_mlp_classes, all_mlp_decoder
from vitlab.fast.ffn import feed_forward, mix_feed_forward
from vitlab.fast.products import Linear, linear
from vitlab.fast.switch import is_on, off

__all__ = [
    "Linear",
    "all_mlp_classes",
    "all_mlp_decoder",
    "attention",
    "feed_forward",
    "is_on",
    "linear",
    "mix_feed_forward",
    "off",
    "upsampled_argmax",
    "upsampled_cross_entropy",
]
