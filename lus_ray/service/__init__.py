"""What a service answers about a clip, without the service: models, stages, the answer, its gate."""
