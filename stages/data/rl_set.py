"""Where T-GRPO's questions are."""

from pathlib import Path

from pydantic import ConfigDict, Field

from stages.run.params import Params, load_params


class RlSet(Params):
    """The part of the section `tgrpo` that the report reads too."""

    model_config = ConfigDict(extra="ignore")  # the other parameters of the section are the stage's own

    rl_folder: str = Field(
        default="data",
        description="folder of the RL set (rl.parquet, rejects.parquet): data for all that the filter keeps, "
        "data/probed/<model> for what the rules of probe keep of it",
    )


def load_rl_folder(settings: Path) -> Path:
    """The folder of the RL set in params.yaml."""
    return Path(load_params(RlSet, "tgrpo", settings).rl_folder)
