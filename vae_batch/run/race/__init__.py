"""Early elimination: checkpoints that are significantly worse are dropped."""
