"""The pipeline as people run it: Prefect flows over DVC's graph.

Nothing in here or below reports usage anywhere: the switches stand in the environment before Prefect and DVC are imported.
"""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
# The temporary server of a flow without one takes longer than Prefect's 20 s to start on a busy machine, and the first time anywhere.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "300")
