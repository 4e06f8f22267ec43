"""The subcommands of ``noisyjax``, one each file."""
