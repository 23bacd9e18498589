"""The command line; every command is imported only when it runs, and none imports kopf except through `run`."""
