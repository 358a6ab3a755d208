"""The files of an output folder: layout, record, lease, verification and pruning."""
