"""Where the files of a checkpoint are: in a folder, in this package, in huggingface_hub's cache, or on the hub."""

from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import (
    CacheNotFound,
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)

from vitlab.pretrained.forms import CONFIG_FILE, WEIGHTS_FILE, CheckpointError

WEIGHTS = Path(__file__).parents[1] / "weights"  # the trained models that come with the package, a folder each
CONVERTER = "SFconvertbot"  # the hub's own account that writes pickled weights of old repositories as safetensors


def own_models() -> list[str]:
    """The names of the trained models that come with the package."""
    return sorted(folder.name for folder in WEIGHTS.iterdir() if folder.is_dir())


def locate(id_or_folder: str | Path, name: str) -> Path:
    """The path of a checkpoint's file, downloaded if it is on the hub.

    Raises:
        CheckpointError: if it cannot be found or reached.
    """
    if not isinstance(id_or_folder, str | Path):
        raise CheckpointError(f"{id_or_folder!r} is neither a folder nor the name of a model.")
    folder = Path(id_or_folder)
    if not folder.is_dir() and id_or_folder in own_models():
        folder = WEIGHTS / id_or_folder
    if folder.is_dir():
        if not (folder / name).is_file():
            raise CheckpointError(
                f"the folder {folder} has no {name}: a checkpoint is {CONFIG_FILE} and {WEIGHTS_FILE}, with "
                f"preprocessor_config.json for pictures. Runs of a U-Net or a CNN leave none."
            )
        return folder / name
    try:
        return _download(str(id_or_folder), name)
    except HFValidationError:
        fault = (
            f"is neither a folder nor one of {', '.join(own_models())}, and a name on the hub would look like "
            f"google/vit-base-patch16-224"
        )
    except RepositoryNotFoundError:
        fault = "is neither a folder nor a repository on the hub that can be read without logging in"
    except LocalEntryNotFoundError:
        fault = (
            f"is no folder, {name} is not in the cache, and the hub cannot be reached: download it once while online"
        )
    except EntryNotFoundError:
        fault = f"has no {name} on the hub, and other formats, which could run code when opened, are not read"
    except RuntimeError:  # as pathlib says it
        fault = "is no folder, and there is no home folder with a cache of the hub: name one in HF_HOME"
    except OSError as error:
        fault = f"could not be fetched from the hub ({error}): try again, or give a folder"
    raise CheckpointError(f"{id_or_folder} {fault}.")


def _download(repository: str, name: str) -> Path:
    try:
        return Path(huggingface_hub.hf_hub_download(repository, name))
    except EntryNotFoundError as error:
        revision = None
        if name == WEIGHTS_FILE:
            revision = _conversion(repository, reachable=not isinstance(error, LocalEntryNotFoundError))
        if revision is None:
            raise
        return Path(huggingface_hub.hf_hub_download(repository, name, revision=revision))


def _conversion(repository: str, *, reachable: bool) -> str | None:
    """Where the hub's converter has proposed safetensors for a repository that holds only pickled weights.

    Such proposals are often never merged: they stay beside the repository, as refs/pr/NUMBER.

    Args:
        repository: its name.
        reachable: whether the hub can be asked; if not, what the cache has of proposals counts.
    """
    if reachable:
        proposals = huggingface_hub.get_repo_discussions(repository, author=CONVERTER, discussion_type="pull_request")
        revisions = [proposal.git_reference for proposal in proposals if proposal.author == CONVERTER]
    else:
        try:
            cached = huggingface_hub.scan_cache_dir().repos
        except CacheNotFound:
            return None
        revisions = [
            ref for repo in cached if repo.repo_id == repository for each in repo.revisions for ref in each.refs
        ]
    return next((revision for revision in revisions if revision.startswith("refs/pr/")), None)
