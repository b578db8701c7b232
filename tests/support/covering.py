"""The cover: the fewest nets (greedy) that hold every feature of all, and one net of each family at least."""

from collections.abc import Mapping

from graph_features import features_of
from unallocated import unallocated

import kerasdl
from kerasdl.core import EXPORT_FORMATS


def features_of_net(name: str, model=None) -> set[str]:
    """Returns the features of a tiny net's graph, of its family, and of what its spec says of QAT and exports."""
    spec = kerasdl.spec(name)
    if model is None:
        with unallocated():
            model = kerasdl.build(name, **spec.tiny)
    promises = {f"spec: {each} refused, {spec.exports[each]}" for each in EXPORT_FORMATS if each in spec.exports}
    return features_of(model) | promises | {f"spec: QAT {spec.qat}", f"family: {spec.family}"}


def cover_of(features: Mapping[str, set[str]]) -> list[str]:
    """Returns nets that together hold all features: at each turn the net with most of what is left, then the smaller.

    A net whose features the others came to hold as well is taken out again.
    """
    left, found = set().union(*features.values()), []
    while left:
        best = max(sorted(features), key=lambda name: (len(features[name] & left), -len(features[name])))
        found.append(best)
        left -= features[best]
    for name in reversed(found[:]):
        others = [features[each] for each in found if each != name]
        if features[name] <= set().union(*others):
            found.remove(name)
    return found
