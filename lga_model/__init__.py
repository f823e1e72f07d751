"""The method of Liu, Tan and You (2018): plain PyTorch, without Ray, S3 or the environment."""
