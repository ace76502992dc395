"""Checks of the exercise `encoder`: the pre-LN block, and a stack of them."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from vitlab.attention import multi_head_self_attention
from vitlab.checks.engine.exercise import Exercise, FollowThrough, Many, Part, Sizes
from vitlab.encoder import encoder, encoder_block
from vitlab.ffn import ffn
from vitlab.layer_norm import layer_norm

BLOCK = {
    "gamma_1": "d", "beta_1": "d", "W_Q": "d d", "W_K": "d d", "W_V": "d d", "W_O": "d d",
    "gamma_2": "d", "beta_2": "d", "W_1": "d d_ff", "b_1": "d_ff", "W_2": "d_ff d", "b_2": "d",
}  # fmt: skip
GIVEN = (layer_norm, multi_head_self_attention, ffn)

# ---- encoder_block

block = Exercise(
    encoder_block,
    takes={"Z": "B n d", "p": BLOCK, "num_heads": "h"},
    where={"d": "h*d_h"},
    returns="B n d",
    given=GIVEN,
    parts=(
        Part("one image", 2, Sizes("one image, one head", B=1, h=1), Sizes("one image", B=1)),
        Part(
            "several images",
            2,
            Sizes(),
            Sizes("many tokens", n="large"),
            Sizes("small numbers, so that ε is seen", lambda Z, p, num_heads: (Z / 1000, p, num_heads)),
            Sizes("large numbers", lambda Z, p, num_heads: (30 * Z + 100, p, num_heads)),
        ),
        Part(
            "float64, gradients",
            2,
            Sizes(gradient=True),
            Sizes("as many tokens as features, d_ff = d", n=6, h=2, d_h=3, d_ff=6, gradient=True),
        ),
    ),
    pinned={"h": 3, "d_h": 5},
)


@block.formulation
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = Z + attended
    normalized_2 = layer_norm(Z_1, p["gamma_2"], p["beta_2"], 1e-6)
    expanded = normalized_2 @ p["W_1"] + p["b_1"]
    activated = F.gelu(expanded)
    changed = activated @ p["W_2"] + p["b_2"]
    return Z_1 + changed


@block.formulation
def _(Z, p, num_heads):
    B, n, d = Z.shape
    d_h = d // num_heads
    normalized_1 = F.layer_norm(Z, (d,), p["gamma_1"], p["beta_1"], 1e-6)
    Q = (normalized_1 @ p["W_Q"]).reshape(B, n, num_heads, d_h).transpose(1, 2)
    K = (normalized_1 @ p["W_K"]).reshape(B, n, num_heads, d_h).transpose(1, 2)
    V = (normalized_1 @ p["W_V"]).reshape(B, n, num_heads, d_h).transpose(1, 2)
    heads = (Q @ K.transpose(-2, -1) / d_h**0.5).softmax(dim=-1) @ V
    attended = heads.transpose(1, 2).reshape(B, n, d) @ p["W_O"]
    Z_1 = Z + attended
    normalized_2 = F.layer_norm(Z_1, (d,), p["gamma_2"], p["beta_2"], 1e-6)
    changed = F.gelu(normalized_2 @ p["W_1"] + p["b_1"]) @ p["W_2"] + p["b_2"]
    return Z_1 + changed


@block.misconception(
    "This is the post-LN block of the first transformer, LN(Z + MSA(Z)): in a ViT's block the LN comes before the "
    "sublayer, Z + MSA(LN(Z)), and the second LN before the FFN."
)
def _(Z, p, num_heads):
    attended = multi_head_self_attention(Z, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = layer_norm(Z + attended, p["gamma_1"], p["beta_1"], 1e-6)
    changed = ffn(Z_1, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return layer_norm(Z_1 + changed, p["gamma_2"], p["beta_2"], 1e-6)


@block.misconception(
    "Each LN stands behind its sublayer, Z + LN(MSA(Z)), and should stand before it, so that the sublayer sees normalized tokens."
)
def _(Z, p, num_heads):
    attended = multi_head_self_attention(Z, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = Z + layer_norm(attended, p["gamma_1"], p["beta_1"], 1e-6)
    changed = ffn(Z_1, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z_1 + layer_norm(changed, p["gamma_2"], p["beta_2"], 1e-6)


@block.misconception(
    "The residual connections carry the normalized tokens, because Z was overwritten by LN(Z): what is added is Z as it "
    "was before the LN."
)
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = normalized_1 + attended
    normalized_2 = layer_norm(Z_1, p["gamma_2"], p["beta_2"], 1e-6)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return normalized_2 + changed


@block.misconception(
    "Both residual connections are missing: add each sublayer's result to what went into its LN, Z + MSA(LN(Z))."
)
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    normalized_2 = layer_norm(attended, p["gamma_2"], p["beta_2"], 1e-6)
    return ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])


@block.misconception(
    "The residual connection around the attention is missing: Z' = Z + MSA(LN(Z)), and the FFN goes on from Z'."
)
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    Z_1 = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    normalized_2 = layer_norm(Z_1, p["gamma_2"], p["beta_2"], 1e-6)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z_1 + changed


@block.misconception("The residual connection around the FFN is missing: the block returns Z' + FFN(LN(Z')).")
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = Z + attended
    normalized_2 = layer_norm(Z_1, p["gamma_2"], p["beta_2"], 1e-6)
    return ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])


@block.misconception(
    "The second residual connection starts from the block's input Z: it should start from Z', in which the attention's "
    "result is already added."
)
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = Z + attended
    normalized_2 = layer_norm(Z_1, p["gamma_2"], p["beta_2"], 1e-6)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z + changed


BESIDE = (
    "Attention and FFN stand beside each other and both read the block's input: the FFN reads LN(Z'), with the "
    "attention's result already added."
)


@block.misconception(BESIDE)
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    normalized_2 = layer_norm(Z, p["gamma_2"], p["beta_2"], 1e-6)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z + attended + changed


@block.misconception(
    "The block's input Z is added a second time at the end: Z' holds it already, so the block returns Z' + FFN(LN(Z'))."
)
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = Z + attended
    normalized_2 = layer_norm(Z_1, p["gamma_2"], p["beta_2"], 1e-6)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z + Z_1 + changed


@block.misconception("The second LN uses the first one's γ and β: it has gamma_2 and beta_2 of its own.")
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = Z + attended
    normalized_2 = layer_norm(Z_1, p["gamma_1"], p["beta_1"], 1e-6)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z_1 + changed


@block.misconception(
    "The γ and β of the two LNs are exchanged: gamma_1 and beta_1 stand before the attention, gamma_2 and beta_2 before "
    "the FFN."
)
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_2"], p["beta_2"], 1e-6)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = Z + attended
    normalized_2 = layer_norm(Z_1, p["gamma_1"], p["beta_1"], 1e-6)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z_1 + changed


@block.misconception("Both LNs are missing: each sublayer reads normalized tokens, MSA(LN(Z)) and FFN(LN(Z')).")
def _(Z, p, num_heads):
    attended = multi_head_self_attention(Z, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = Z + attended
    changed = ffn(Z_1, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z_1 + changed


@block.misconception("The LN before the attention is missing: the attention reads LN(Z), with gamma_1 and beta_1.")
def _(Z, p, num_heads):
    attended = multi_head_self_attention(Z, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = Z + attended
    normalized_2 = layer_norm(Z_1, p["gamma_2"], p["beta_2"], 1e-6)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z_1 + changed


@block.misconception("The LN before the FFN is missing: the FFN reads LN(Z'), with gamma_2 and beta_2.")
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = Z + attended
    changed = ffn(Z_1, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z_1 + changed


@block.misconception(BESIDE)
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = Z + attended
    normalized_2 = layer_norm(Z, p["gamma_2"], p["beta_2"], 1e-6)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z_1 + changed


@block.misconception(
    "The FFN reads the attention's result without the residual: the LN before it takes Z' = Z + MSA(LN(Z))."
)
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = Z + attended
    normalized_2 = layer_norm(attended, p["gamma_2"], p["beta_2"], 1e-6)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z_1 + changed


FFN_FIRST = "The FFN comes first and the attention second: the attention comes first, with gamma_1 and beta_1."


@block.misconception(FFN_FIRST)
def _(Z, p, num_heads):
    normalized_2 = layer_norm(Z, p["gamma_2"], p["beta_2"], 1e-6)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    Z_1 = Z + changed
    normalized_1 = layer_norm(Z_1, p["gamma_1"], p["beta_1"], 1e-6)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    return Z_1 + attended


@block.misconception(FFN_FIRST)
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    changed = ffn(normalized_1, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    Z_1 = Z + changed
    normalized_2 = layer_norm(Z_1, p["gamma_2"], p["beta_2"], 1e-6)
    attended = multi_head_self_attention(normalized_2, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    return Z_1 + attended


@block.misconception(
    "Each token attends to itself alone, since the attention gets the tokens one by one: give it all tokens of an image "
    "at once, (B, n, d)."
)
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    attended = normalized_1 @ p["W_V"] @ p["W_O"]
    Z_1 = Z + attended
    normalized_2 = layer_norm(Z_1, p["gamma_2"], p["beta_2"], 1e-6)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z_1 + changed


@block.misconception("The FFN is missing: the block returns Z' + FFN(LN(Z')).")
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    return Z + attended


@block.misconception("The attention is missing: Z' = Z + MSA(LN(Z)) comes before the FFN.")
def _(Z, p, num_heads):
    normalized_2 = layer_norm(Z, p["gamma_2"], p["beta_2"], 1e-6)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z + changed


@block.misconception(
    "The block ends in an LN of its own: it returns the plain sum Z' + FFN(LN(Z')); the one last LN stands behind all "
    "blocks."
)
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-6)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = Z + attended
    normalized_2 = layer_norm(Z_1, p["gamma_2"], p["beta_2"], 1e-6)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    Z_2 = Z_1 + changed
    return layer_norm(Z_2, p["gamma_2"], p["beta_2"], 1e-6)


@block.misconception(
    "γ and β have no effect in the LNs: give gamma_1, beta_1 and gamma_2, beta_2 to layer_norm, in this order."
)
def _(Z, p, num_heads):
    normalized_1 = F.layer_norm(Z, Z.shape[-1:], None, None, 1e-6)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = Z + attended
    normalized_2 = F.layer_norm(Z_1, Z.shape[-1:], None, None, 1e-6)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z_1 + changed


@block.misconception("ε is 1e-5, PyTorch's default, and should be 1e-6, as in ViT.")
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 1e-5)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = Z + attended
    normalized_2 = layer_norm(Z_1, p["gamma_2"], p["beta_2"], 1e-5)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z_1 + changed


@block.misconception("ε is 0, and should be 1e-6, as in ViT.")
def _(Z, p, num_heads):
    normalized_1 = layer_norm(Z, p["gamma_1"], p["beta_1"], 0.0)
    attended = multi_head_self_attention(normalized_1, p["W_Q"], p["W_K"], p["W_V"], p["W_O"], num_heads)
    Z_1 = Z + attended
    normalized_2 = layer_norm(Z_1, p["gamma_2"], p["beta_2"], 0.0)
    changed = ffn(normalized_2, p["W_1"], p["b_1"], p["W_2"], p["b_2"])
    return Z_1 + changed


# ---- encoder


def all_blocks(block: Callable, Z: Tensor, blocks: list[dict[str, Tensor]], num_heads: int) -> Tensor:
    for p in blocks:
        Z = block(Z, p, num_heads)
    return Z


def small_numbers(Z: Tensor, blocks: list[dict[str, Tensor]], *others: Tensor | int) -> tuple:
    """Tokens of about 1/1000 that stay so small through all blocks."""
    last = ("W_O", "W_2", "b_2")  # what the sublayers end in
    return Z / 1000, [p | {name: p[name] / 1000 for name in last} for p in blocks], *others


stack = Exercise(
    encoder,
    takes={"Z": "B n d", "blocks": Many("L", BLOCK), "gamma": "d", "beta": "d", "num_heads": "h"},
    where={"d": "h*d_h"},
    returns="B n d",
    given=(*GIVEN, encoder_block),
    parts=(
        Part("one block", 1, Sizes("one image, one block", B=1, L=1)),
        Part(
            "several blocks",
            3,
            Sizes("two blocks", L=2),
            Sizes(),
            Sizes("many tokens", n="large", L=3),
            Sizes("small numbers, so that ε is seen", small_numbers, L=2),
        ),
        Part("float64, gradients", 1, Sizes(L=3, gradient=True)),
    ),
    pinned={"h": 3, "d_h": 5, "L": 3},
    builds_on=FollowThrough(
        (encoder_block,),
        lambda block, Z, blocks, gamma, beta, h: layer_norm(all_blocks(block, Z, blocks, h), gamma, beta, 1e-6),
    ),
)


@stack.formulation
def _(Z, blocks, gamma, beta, num_heads):
    z_L = all_blocks(encoder_block, Z, blocks, num_heads)
    return layer_norm(z_L, gamma, beta, 1e-6)


@stack.misconception("The last LN is missing: behind all blocks the tokens are normalized once more, LN(z_L).")
def _(Z, blocks, gamma, beta, num_heads):
    return all_blocks(encoder_block, Z, blocks, num_heads)


@stack.misconception(
    "The last LN stands inside the loop, behind every block, and should stand once, behind all of them."
)
def _(Z, blocks, gamma, beta, num_heads):
    for p in blocks:
        Z = layer_norm(encoder_block(Z, p, num_heads), gamma, beta, 1e-6)
    return Z


@stack.misconception("The LN with gamma and beta comes before the blocks, and should come last, behind all of them.")
def _(Z, blocks, gamma, beta, num_heads):
    normalized = layer_norm(Z, gamma, beta, 1e-6)
    return all_blocks(encoder_block, normalized, blocks, num_heads)


@stack.misconception("There is an LN before the blocks, too: there is one only, behind all of them.")
def _(Z, blocks, gamma, beta, num_heads):
    normalized = layer_norm(Z, gamma, beta, 1e-6)
    z_L = all_blocks(encoder_block, normalized, blocks, num_heads)
    return layer_norm(z_L, gamma, beta, 1e-6)


@stack.misconception(
    "Every block gets z_0, and only the last one's result is used: each block takes what the one before has put out."
)
def _(Z, blocks, gamma, beta, num_heads):
    z_L = encoder_block(Z, blocks[-1], num_heads)
    return layer_norm(z_L, gamma, beta, 1e-6)


@stack.misconception(
    "Every block gets z_0, and their results are added up: each block takes what the one before has put out."
)
def _(Z, blocks, gamma, beta, num_heads):
    z_L = sum(encoder_block(Z, p, num_heads) for p in blocks)
    return layer_norm(z_L, gamma, beta, 1e-6)


@stack.misconception(
    "Every block gets z_0, and their changes are added to it: each block takes what the one before has put out."
)
def _(Z, blocks, gamma, beta, num_heads):
    z_L = Z + sum(encoder_block(Z, p, num_heads) - Z for p in blocks)
    return layer_norm(z_L, gamma, beta, 1e-6)


@stack.misconception("The parameters of the first block are used for all: every block has its own, blocks[l].")
def _(Z, blocks, gamma, beta, num_heads):
    z_L = all_blocks(encoder_block, Z, blocks[:1] * len(blocks), num_heads)
    return layer_norm(z_L, gamma, beta, 1e-6)


@stack.misconception("The parameters of the last block are used for all: every block has its own, blocks[l].")
def _(Z, blocks, gamma, beta, num_heads):
    z_L = all_blocks(encoder_block, Z, blocks[-1:] * len(blocks), num_heads)
    return layer_norm(z_L, gamma, beta, 1e-6)


@stack.misconception("The blocks run in the wrong order, the last one first: blocks[0] is the first.")
def _(Z, blocks, gamma, beta, num_heads):
    z_L = all_blocks(encoder_block, Z, blocks[::-1], num_heads)
    return layer_norm(z_L, gamma, beta, 1e-6)


@stack.misconception("Only the first block runs: does the return stand inside the loop?")
def _(Z, blocks, gamma, beta, num_heads):
    z_1 = encoder_block(Z, blocks[0], num_heads)
    return layer_norm(z_1, gamma, beta, 1e-6)


@stack.misconception("The first block is left out: does the loop begin at 1? The blocks count from 0.")
def _(Z, blocks, gamma, beta, num_heads):
    z_L = all_blocks(encoder_block, Z, blocks[1:], num_heads)
    return layer_norm(z_L, gamma, beta, 1e-6)


@stack.misconception("The last block is left out: does the loop end one too early?")
def _(Z, blocks, gamma, beta, num_heads):
    z_L = all_blocks(encoder_block, Z, blocks[:-1], num_heads)
    return layer_norm(z_L, gamma, beta, 1e-6)


@stack.misconception(
    "There is one more residual connection around each block: the block has both of its own already, z_l = Block(z_{l-1})."
)
def _(Z, blocks, gamma, beta, num_heads):
    for p in blocks:
        Z = Z + encoder_block(Z, p, num_heads)
    return layer_norm(Z, gamma, beta, 1e-6)


@stack.misconception(
    "There is one more residual connection around all blocks together: z_0 has come through the blocks' own already."
)
def _(Z, blocks, gamma, beta, num_heads):
    z_L = Z + all_blocks(encoder_block, Z, blocks, num_heads)
    return layer_norm(z_L, gamma, beta, 1e-6)


@stack.misconception("The mean of all blocks' results is returned: the result is the last block's, normalized.")
def _(Z, blocks, gamma, beta, num_heads):
    results = []
    for p in blocks:
        Z = encoder_block(Z, p, num_heads)
        results.append(Z)
    return layer_norm(sum(results) / len(results), gamma, beta, 1e-6)


@stack.misconception("The last LN uses the last block's gamma_2 and beta_2: it has gamma and beta of its own.")
def _(Z, blocks, gamma, beta, num_heads):
    z_L = all_blocks(encoder_block, Z, blocks, num_heads)
    return layer_norm(z_L, blocks[-1]["gamma_2"], blocks[-1]["beta_2"], 1e-6)


@stack.misconception("The last LN's ε is 1e-5, PyTorch's default, and should be 1e-6, as in ViT.")
def _(Z, blocks, gamma, beta, num_heads):
    z_L = all_blocks(encoder_block, Z, blocks, num_heads)
    return layer_norm(z_L, gamma, beta, 1e-5)


@stack.misconception(
    "The last LN is applied once for every block, behind all of them, as in a recursion that normalizes what it returns: "
    "normalize once, where no block is left."
)
def _(Z, blocks, gamma, beta, num_heads):
    for block in blocks:
        Z = encoder_block(Z, block, num_heads)
    for _ in range(len(blocks) + 1):
        Z = layer_norm(Z, gamma, beta, 1e-6)
    return Z


EXERCISES = (block, stack)
