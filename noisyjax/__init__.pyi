from noisyjax.tool.audit.audit import audit as audit
from noisyjax.tool.consensus.fuse import consensus as consensus
from noisyjax.tool.evaluation.evaluate import evaluate as evaluate
from noisyjax.tool.folder import open_folder as open_folder
from noisyjax.tool.plan.planner import plan as plan
from noisyjax.tool.raters.compare import raters as raters
from noisyjax.tool.saved_run import load_run as load_run
from noisyjax.tool.simulation.simulate import simulate as simulate
from noisyjax.tool.training.predict_folder import predict_folder as predict_folder
from noisyjax.tool.training.train_folds import train_folds as train_folds

__version__: str
