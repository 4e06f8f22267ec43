from noisyjax.tool.consensus.fuse import consensus as consensus
from noisyjax.tool.evaluation.evaluate import evaluate as evaluate
from noisyjax.tool.folder import open_folder as open_folder
from noisyjax.tool.raters.compare import raters as raters
from noisyjax.tool.saved_run import load_run as load_run
from noisyjax.tool.simulation.simulate import simulate as simulate

__version__: str
