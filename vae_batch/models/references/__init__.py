"""Reference sets: named sets, folders, arrays and Parquet files of real images."""
