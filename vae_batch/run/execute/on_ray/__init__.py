"""The Ray executor: the only room that knows Ray. Imported where a run needs it."""
