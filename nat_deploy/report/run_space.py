"""How a run says which search space its gene strings belong to: three keys of its provenance."""

from collections.abc import Mapping

from nat_deploy.errors import FileFormatError, InputError
from nat_deploy.spaces import SearchSpace, make_space

_SPACE, _RESOLUTIONS, _NUM_CLASSES = "space", "resolutions", "num_classes"


def space_provenance(space: SearchSpace) -> Mapping[str, str]:
    """What belongs into the provenance of a run in that space, so that `read_space` finds it again.

    Example: `{"space": "ofa-mbv3-w0.5", "resolutions": "32,36,40", "num_classes": "10"}`.
    """
    resolutions = ",".join(str(resolution) for resolution in space.resolutions)
    return {_SPACE: space.name, _RESOLUTIONS: resolutions, _NUM_CLASSES: str(space.num_classes)}


def read_space(provenance: Mapping[str, str], *, num_classes: int | None = None) -> SearchSpace | None:
    """The space of a run, or None where its provenance does not say it.

    Args:
        provenance: Of the run.
        num_classes: Taken where the provenance has none.

    Raises:
        FileFormatError: It says a space that does not exist.
    """
    classes = provenance.get(_NUM_CLASSES, num_classes)
    if classes is None or not {_SPACE, _RESOLUTIONS} <= provenance.keys():
        return None
    try:
        resolutions = tuple(int(text) for text in provenance[_RESOLUTIONS].split(","))
        return make_space(provenance[_SPACE], resolutions=resolutions, num_classes=int(classes))
    except (ValueError, InputError) as error:
        raise FileFormatError(
            f"provenance of a run must name a search space, but it does not ({error}); restore its run.json"
        ) from error
