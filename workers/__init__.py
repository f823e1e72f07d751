"""The jobs around the method: everything that touches the world (Ray, S3, engines, the command line)."""
