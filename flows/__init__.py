"""The pipeline as people run it: Prefect flows over DVC's graph.

Nothing in here or below reports usage anywhere: the switches stand in the environment before Prefect and DVC are imported.
"""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
