"""The same as the command ``noisyjax``."""

from noisyjax.cli import main

if __name__ == "__main__":
    main.run()
