"""The class that several models of one label agree on."""

from collections import Counter
from collections.abc import Sequence

from lus_ray.inference.schema import ExpertPrediction


def vote(predictions: Sequence[ExpertPrediction]) -> tuple[int, int]:
    """The class that most predictions name, by mean probability where equal; how many name it."""
    votes = Counter(best_class(prediction) for prediction in predictions)
    return max(votes.items(), key=lambda pair: (pair[1], mean_probability(predictions, pair[0])))


def best_class(prediction: ExpertPrediction) -> int:
    return max(range(len(prediction.probability)), key=lambda k: prediction.probability[k])


def mean_probability(predictions: Sequence[ExpertPrediction], k: int) -> float:
    return sum(prediction.probability[k] for prediction in predictions) / len(predictions)
