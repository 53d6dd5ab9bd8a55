"""What a service answers about a clip: its models, their stages, the answer and its gate."""
