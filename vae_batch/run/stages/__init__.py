"""The stages of a shard: each computes the arrays of one kind of unit."""
