"""Pictures of what a trained network has learnt, after the thesis's figures; one figure a file."""
