"""Checks of the exercise `vit`: the whole classifier, and the number of its parameters."""

import torch
from torch.nn import functional as F

from vitlab.checks.encoder import BLOCK, all_blocks
from vitlab.checks.engine.exercise import Exercise, Many, Part, Sizes
from vitlab.embeddings import assemble_sequence, embed_patches
from vitlab.encoder import encoder, encoder_block
from vitlab.layer_norm import layer_norm
from vitlab.vit import vit, vit_parameters

PARAMETERS = {
    "E": "P*P*C d", "b": "d", "x_class": "d", "E_pos": "n+1 d", "blocks": Many("L", BLOCK),
    "gamma": "d", "beta": "d", "W_head": "d N", "b_head": "N",
}  # fmt: skip

# ---- vit

classifier = Exercise(
    vit,
    takes={
        "images": "B C H W",
        "p": PARAMETERS,
        "patch_size": "P",
        "num_heads": "h",
    },
    where={"H": "rows*P", "W": "columns*P", "n": "rows*columns", "d": "h*d_h"},
    returns="B N",
    given=(embed_patches, assemble_sequence, encoder, encoder_block, layer_norm),
    parts=(
        Part("one image", 2, Sizes("one square image", B=1, C=3, P=2, rows=2, columns=2, L=1)),
        Part(
            "several images, not square",
            3,
            Sizes("wide images", C=3, P=2, rows=2, columns=3, L=2),
            Sizes("high images of one channel", C=1, P=3, rows=3, columns=2, L=2),
            Sizes("many patches", C=3, P=2, rows=2, columns="large", L=2),
        ),
        Part("float64, gradients", 2, Sizes(P=2, rows=2, columns=3, L=2, gradient=True)),
    ),
    pinned={"P": 2, "rows": 3, "columns": 2, "C": 3, "h": 2, "d_h": 5, "L": 2},
)


@classifier.formulation
def _(images, p, patch_size, num_heads):
    patches = embed_patches(images, p["E"], patch_size) + p["b"]
    class_tokens = p["x_class"].expand(len(images), 1, -1)
    sequence = torch.cat([class_tokens, patches], dim=1)
    z_0 = sequence + p["E_pos"]
    before = all_blocks(encoder_block, z_0, p["blocks"], num_heads)
    z_L = layer_norm(before, p["gamma"], p["beta"], 1e-6)
    z_class = z_L[:, 0]
    return z_class @ p["W_head"] + p["b_head"]


def assembled(images, p, patch_size):
    """The right z_0, which wrong versions are read with as if it were written out."""
    patches = embed_patches(images, p["E"], patch_size) + p["b"]
    z_0 = assemble_sequence(patches, p["x_class"], p["E_pos"])
    return z_0


def encoded(images, p, patch_size, num_heads):
    """The right z_L, likewise."""
    z_0 = assembled(images, p, patch_size)
    z_L = encoder(z_0, p["blocks"], p["gamma"], p["beta"], num_heads)
    return z_L


MEAN = (
    "The mean of all tokens is classified, or the mean of all their scores, which is the same: the lecture reads the class "
    "token alone, z_L[:, 0]."
)


@classifier.misconception(
    "patch_size and num_heads are exchanged in the calls: patches are patch_size pixels wide, and attention has num_heads heads."
)
def _(images, p, patch_size, num_heads):  # stops in most cases
    z_L = encoded(images, p, num_heads, patch_size)
    return z_L[:, 0] @ p["W_head"] + p["b_head"]


@classifier.misconception(MEAN)
def _(images, p, patch_size, num_heads):
    z_L = encoded(images, p, patch_size, num_heads)
    z_class = z_L.mean(dim=1)
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception(
    "The mean of the patches' tokens is classified: the lecture reads the class token alone, z_L[:, 0]."
)
def _(images, p, patch_size, num_heads):
    z_L = encoded(images, p, patch_size, num_heads)
    z_class = z_L[:, 1:].mean(dim=1)
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception("The last token of the sequence is read: the class token is the first, z_L[:, 0].")
def _(images, p, patch_size, num_heads):
    z_L = encoded(images, p, patch_size, num_heads)
    z_class = z_L[:, -1]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception(
    "The first patch's token is read, z_L[:, 1]: the class token stands in front of it, z_L[:, 0]."
)
def _(images, p, patch_size, num_heads):
    z_L = encoded(images, p, patch_size, num_heads)
    z_class = z_L[:, 1]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception("z_L[0] is all the tokens of the first image: z_L[:, 0] is the first token of every image.")
def _(images, p, patch_size, num_heads):
    z_L = encoded(images, p, patch_size, num_heads)
    z_class = z_L[0]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception(MEAN)
def _(images, p, patch_size, num_heads):
    z_L = encoded(images, p, patch_size, num_heads)
    z_class = z_L
    return (z_class @ p["W_head"] + p["b_head"]).mean(dim=1)


@classifier.misconception("Every token is classified, (B, n+1, N): the head reads the class token alone, z_L[:, 0].")
def _(images, p, patch_size, num_heads):
    z_L = encoded(images, p, patch_size, num_heads)
    z_class = z_L
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception(
    "The largest number of each feature over all tokens is classified: the lecture reads the class token alone."
)
def _(images, p, patch_size, num_heads):
    z_L = encoded(images, p, patch_size, num_heads)
    z_class = z_L.amax(dim=1)
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception("The bias b of the patches is missing: x_p E + b.")
def _(images, p, patch_size, num_heads):
    patches = embed_patches(images, p["E"], patch_size)
    z_0 = assemble_sequence(patches, p["x_class"], p["E_pos"])
    z_L = encoder(z_0, p["blocks"], p["gamma"], p["beta"], num_heads)
    z_class = z_L[:, 0]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception("The bias b is added to the class embedding, too: it belongs to the patches only.")
def _(images, p, patch_size, num_heads):
    patches = embed_patches(images, p["E"], patch_size)
    z_0 = assemble_sequence(patches, p["x_class"], p["E_pos"]) + p["b"]
    z_L = encoder(z_0, p["blocks"], p["gamma"], p["beta"], num_heads)
    z_class = z_L[:, 0]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception("The position embedding is missing: row i of E_pos is added to term i of the sequence.")
def _(images, p, patch_size, num_heads):
    patches = embed_patches(images, p["E"], patch_size) + p["b"]
    z_0 = torch.cat([p["x_class"].expand(len(patches), 1, -1), patches], dim=1)
    z_L = encoder(z_0, p["blocks"], p["gamma"], p["beta"], num_heads)
    z_class = z_L[:, 0]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception("The class embedding gets no position: row 0 of E_pos is added to it.")
def _(images, p, patch_size, num_heads):
    patches = embed_patches(images, p["E"], patch_size) + p["b"]
    z_0 = torch.cat([p["x_class"].expand(len(patches), 1, -1), patches + p["E_pos"][1:]], dim=1)
    z_L = encoder(z_0, p["blocks"], p["gamma"], p["beta"], num_heads)
    z_class = z_L[:, 0]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception(
    "The class embedding stands at the end, and the first token, a patch, is read: the class embedding should come first."
)
def _(images, p, patch_size, num_heads):
    patches = embed_patches(images, p["E"], patch_size) + p["b"]
    z_0 = torch.cat([patches, p["x_class"].expand(len(patches), 1, -1)], dim=1) + p["E_pos"]
    z_L = encoder(z_0, p["blocks"], p["gamma"], p["beta"], num_heads)
    z_class = z_L[:, 0]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception(
    "The class embedding stands at the end of the sequence, with the last position, and should come first, with row 0 of E_pos."
)
def _(images, p, patch_size, num_heads):
    patches = embed_patches(images, p["E"], patch_size) + p["b"]
    z_0 = torch.cat([patches, p["x_class"].expand(len(patches), 1, -1)], dim=1) + p["E_pos"]
    z_L = encoder(z_0, p["blocks"], p["gamma"], p["beta"], num_heads)
    z_class = z_L[:, -1]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception(
    "There is no class embedding in the sequence, and the mean of the patches is classified: x_class comes first, and is read at the end."
)
def _(images, p, patch_size, num_heads):
    patches = embed_patches(images, p["E"], patch_size) + p["b"]
    z_0 = patches + p["E_pos"][1:]
    z_L = encoder(z_0, p["blocks"], p["gamma"], p["beta"], num_heads)
    z_class = z_L.mean(dim=1)
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception("The positions are added twice.")
def _(images, p, patch_size, num_heads):
    patches = embed_patches(images, p["E"], patch_size) + p["b"]
    z_0 = assemble_sequence(patches, p["x_class"], p["E_pos"]) + p["E_pos"]
    z_L = encoder(z_0, p["blocks"], p["gamma"], p["beta"], num_heads)
    z_class = z_L[:, 0]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception(
    "No block has seen the class token that is read: is the encoder missing, or does the class token come in behind it?"
)
def _(images, p, patch_size, num_heads):
    z_0 = assembled(images, p, patch_size)
    z_L = z_0
    z_class = z_L[:, 0]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception(
    "The encoder gets the patches alone, without class token and positions: assemble_sequence makes z_0 of them."
)
def _(images, p, patch_size, num_heads):
    z_0 = embed_patches(images, p["E"], patch_size) + p["b"]
    z_L = encoder(z_0, p["blocks"], p["gamma"], p["beta"], num_heads)
    z_class = z_L[:, 0]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception("The last LN is missing: after the blocks come gamma and beta, as in `encoder`.")
def _(images, p, patch_size, num_heads):
    z_0 = assembled(images, p, patch_size)
    z_L = all_blocks(encoder_block, z_0, p["blocks"], num_heads)
    z_class = z_L[:, 0]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception("The last LN is applied twice: `encoder` ends with it already.")
def _(images, p, patch_size, num_heads):
    z_0 = assembled(images, p, patch_size)
    z_L = layer_norm(encoder(z_0, p["blocks"], p["gamma"], p["beta"], num_heads), p["gamma"], p["beta"], 1e-6)
    z_class = z_L[:, 0]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception("The blocks run in the wrong order, the last one first.")
def _(images, p, patch_size, num_heads):
    z_0 = assembled(images, p, patch_size)
    z_L = encoder(z_0, p["blocks"][::-1], p["gamma"], p["beta"], num_heads)
    z_class = z_L[:, 0]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception("The first block's parameters are used for all blocks.")
def _(images, p, patch_size, num_heads):
    z_0 = assembled(images, p, patch_size)
    z_L = encoder(z_0, p["blocks"][:1] * len(p["blocks"]), p["gamma"], p["beta"], num_heads)
    z_class = z_L[:, 0]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception("Only the first block is used: give all of p['blocks'] to the encoder.")
def _(images, p, patch_size, num_heads):
    z_0 = assembled(images, p, patch_size)
    z_L = encoder(z_0, p["blocks"][:1], p["gamma"], p["beta"], num_heads)
    z_class = z_L[:, 0]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception("The encoder has one head only: give it num_heads.")
def _(images, p, patch_size, num_heads):
    z_0 = assembled(images, p, patch_size)
    z_L = encoder(z_0, p["blocks"], p["gamma"], p["beta"], 1)
    z_class = z_L[:, 0]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception(
    "There is an LN on z_0, before the encoder: the blocks have their own, and the last LN stands behind them."
)
def _(images, p, patch_size, num_heads):
    z_0 = assembled(images, p, patch_size)
    z_L = encoder(layer_norm(z_0, p["gamma"], p["beta"], 1e-6), p["blocks"], p["gamma"], p["beta"], num_heads)
    z_class = z_L[:, 0]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception("The bias of the head is missing: z_L^0 W_head + b_head.")
def _(images, p, patch_size, num_heads):
    z_L = encoded(images, p, patch_size, num_heads)
    z_class = z_L[:, 0]
    return z_class @ p["W_head"]


@classifier.misconception(
    "A softmax stands behind the head: the function returns the scores themselves, and the loss takes their softmax."
)
def _(images, p, patch_size, num_heads):
    z_L = encoded(images, p, patch_size, num_heads)
    z_class = z_L[:, 0]
    return (z_class @ p["W_head"] + p["b_head"]).softmax(dim=-1)


@classifier.misconception(
    "The scores have an axis too many, (B, 1, N): where a loop finds (1, N) for each image, torch.cat joins them along "
    "the images, and torch.stack makes a new axis."
)
def _(images, p, patch_size, num_heads):
    z_L = encoded(images, p, patch_size, num_heads)
    z_class = z_L[:, :1]
    return z_class @ p["W_head"] + p["b_head"]


@classifier.misconception("A log-softmax stands behind the head: the function returns the scores themselves.")
def _(images, p, patch_size, num_heads):
    z_L = encoded(images, p, patch_size, num_heads)
    z_class = z_L[:, 0]
    return (z_class @ p["W_head"] + p["b_head"]).log_softmax(dim=-1)


@classifier.misconception("A sigmoid stands behind the head: the function returns the scores themselves.")
def _(images, p, patch_size, num_heads):
    z_L = encoded(images, p, patch_size, num_heads)
    z_class = z_L[:, 0]
    return torch.sigmoid(z_class @ p["W_head"] + p["b_head"])


@classifier.misconception("There is a GELU before the head, which should be one linear layer on the class token.")
def _(images, p, patch_size, num_heads):
    z_L = encoded(images, p, patch_size, num_heads)
    z_class = z_L[:, 0]
    return F.gelu(z_class) @ p["W_head"] + p["b_head"]


@classifier.misconception(
    "There is a tanh before the head, as in models with a pooler: here the head should be one linear layer on the class token."
)
def _(images, p, patch_size, num_heads):
    z_L = encoded(images, p, patch_size, num_heads)
    z_class = z_L[:, 0]
    return torch.tanh(z_class) @ p["W_head"] + p["b_head"]


@classifier.misconception(
    "The class itself is returned: return its N scores, of which the largest is that of the class."
)
def _(images, p, patch_size, num_heads):
    z_L = encoded(images, p, patch_size, num_heads)
    z_class = z_L[:, 0]
    return (z_class @ p["W_head"] + p["b_head"]).argmax(dim=-1)


@classifier.misconception(
    "squeeze() takes out every axis of length 1, that of the batch too, if there is one image: pick the class token by "
    "z_L[:, 0], which leaves (B, d)."
)
def _(images, p, patch_size, num_heads):
    return vit(images, p, patch_size, num_heads).squeeze()


# ---- vit_parameters

count = Exercise(
    vit_parameters,
    takes={"depth": "L", "d": "d", "patch_size": "P", "image_size": "rows*P", "num_classes": "N"},
    where={"n": "rows*rows"},
    returns="",
    parts=(
        Part("small models", 2, Sizes("one block", L=1), Sizes(), Sizes()),
        Part(
            "published models",
            2,
            Sizes("ViT-B/16", L=12, d=768, P=16, rows=14, N=1000),
            Sizes("ViT-L/32", L=24, d=1024, P=32, rows=7, N=1000),
            Sizes("ViT-H/14", L=32, d=1280, P=14, rows=16, N=1000),
            Sizes("ViT-B/16 with 10 classes", L=12, d=768, P=16, rows=14, N=10),
        ),
    ),
)


@count.formulation
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = (3 * patch_size**2 + 1) * d
    class_embedding = d
    positions = (n + 1) * d
    norm = 2 * d
    attention = 4 * (d + 1) * d
    expand = (d + 1) * 4 * d
    compress = (4 * d + 1) * d
    block = 2 * norm + attention + expand + compress
    head = (d + 1) * num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.formulation
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    embeddings = 3 * patch_size**2 * d + d + d + (n + 1) * d
    block = 12 * d**2 + 13 * d
    return embeddings + depth * block + 2 * d + d * num_classes + num_classes


FOUR_D_MISSING = "4d numbers are missing in each block: the biases of the attention's four projections (q, k, v and the output), or γ and β of its two LNs."


@count.misconception(FOUR_D_MISSING)
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


D_OF_BLOCK_MISSING = (
    "d numbers are missing in each block: the bias of the attention's output, or that of the FFN's second layer."
)


@count.misconception(D_OF_BLOCK_MISSING)
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 3 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


THREE_D_MISSING = "3d numbers are missing in each block: the biases of q, k and v, or a part of the bias of the FFN's first layer, which has 4d outputs."


@count.misconception(THREE_D_MISSING)
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception(
    "The attention's output projection is not counted: W_Q, W_K, W_V and W_O are 4d², and their biases 4d."
)
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 3 * d**2 + 3 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception("The FFN's biases are not counted: 4d of the first layer and d of the second.")
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception(D_OF_BLOCK_MISSING)
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 4 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception(THREE_D_MISSING)
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 2 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception("Only one layer of the FFN is counted: there are two, d to 4d and 4d to d.")
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 4 * d**2 + 4 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception("The FFN is taken to be as wide as the tokens, d_ff = d, and should be 4d wide.")
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 2 * d**2 + 2 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


D_MISSING = "d numbers are missing: those of the class token, of its row of E_pos (which has n+1 rows), or of the patches' bias."


@count.misconception(D_MISSING)
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = n * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception("The positions are not counted: E_pos is learned, (n+1) d numbers.")
def _(depth, d, patch_size, image_size, num_classes):
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = 0 * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception(D_MISSING)
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = 0 * d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception("The last LN is not counted: one more stands behind all blocks, 2d.")
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 0 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception(
    "The last LN is counted once for each block, and should be counted once, 2d: it stands behind all of them."
)
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * (block + norm) + head


@count.misconception(
    "3d numbers are missing outside the blocks: the last LN's 2d, and d of the class token, of its row of E_pos (which has "
    "n+1 rows), or of the patches' bias."
)
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = 0 * d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 0 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception(
    "2d numbers are missing in each block: there are two LNs, 4d numbers together, and four biases in the attention, of "
    "q, k, v and the output."
)
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 2 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception(FOUR_D_MISSING)
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 0 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception(
    "2d numbers are missing in each block, and d more: there are two LNs in each block and one behind them all, and each has γ and β, 2d."
)
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 2 * d
    norm = d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception("n is the number of patches along one side: squared, it is that of the whole image.")
def _(depth, d, patch_size, image_size, num_classes):
    n = image_size // patch_size
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception("n is image_size divided by P², and should be (image_size / P)², rows times columns.")
def _(depth, d, patch_size, image_size, num_classes):
    n = image_size // patch_size**2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception("The image is taken to have 224 pixels a side: take image_size.")
def _(depth, d, patch_size, image_size, num_classes):
    n = (224 // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception("A patch is taken to have one channel: it has 3, so P² · 3 numbers.")
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception(D_MISSING)
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception("A patch is taken to have P numbers a channel: it has P².")
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception("The bias of the head is not counted: one number a class.")
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception("The head is not counted: d · N weights and N biases.")
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = 0 * d
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception("The head is taken to have 1000 classes: take num_classes.")
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * 1000 + 1000
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception("The head is taken to have a hidden layer of d more, and should be one linear layer.")
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d**2 + d + d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception("Only one block is counted: there are `depth` of them.")
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + 1 * block + norm + head


@count.misconception("The number of blocks is taken to be 12, and should be `depth`.")
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 4 * d + 8 * d**2 + 5 * d + 4 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + 12 * block + norm + head


@count.misconception("The blocks' biases and LNs are not counted, 12d² only: the rest is 13d a block.")
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    patches = patch_size**2 * 3 * d + d
    class_embedding = d
    positions = (n + 1) * d
    block = 4 * d**2 + 8 * d**2 + 0 * d
    norm = 2 * d
    head = d * num_classes + num_classes
    return patches + class_embedding + positions + depth * block + norm + head


@count.misconception(
    "These are the weights of the blocks alone, 12d² a block: the embeddings, the biases, the LNs and the head are missing."
)
def _(depth, d, patch_size, image_size, num_classes):
    return depth * 12 * d**2


@count.misconception("Everything is counted once for each block: only the blocks are there `depth` times.")
def _(depth, d, patch_size, image_size, num_classes):
    n = (image_size // patch_size) ** 2
    embeddings = 3 * patch_size**2 * d + d + d + (n + 1) * d
    block = 12 * d**2 + 13 * d
    return depth * (embeddings + block + 2 * d + d * num_classes + num_classes)


@count.misconception("d_ff is taken to be 2048, the default of nn.TransformerEncoderLayer: it is 4d.")
def _(depth, d, patch_size, image_size, num_classes):
    of_ffn = 2 * d * 4 * d + 4 * d + d
    other = 2 * d * 2048 + 2048 + d
    return vit_parameters(depth, d, patch_size, image_size, num_classes) + depth * (other - of_ffn)


EXERCISES = (classifier, count)
