"""mistaken: puts the class embedding behind the patches"""

import torch

EXPECTED = {"assemble_sequence": 0}


def assemble_sequence(patch_embeddings, class_embedding, position_embedding):
    class_tokens = class_embedding.expand(len(patch_embeddings), 1, -1)
    return torch.cat([patch_embeddings, class_tokens], dim=1) + position_embedding
