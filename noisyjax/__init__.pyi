from noisyjax.tool.consensus import consensus as consensus
from noisyjax.tool.evaluate import evaluate as evaluate
from noisyjax.tool.folder import open_folder as open_folder
from noisyjax.tool.raters import raters as raters
from noisyjax.tool.saved_run import load_run as load_run
from noisyjax.tool.simulate import simulate as simulate

__version__: str
