"""The pipeline as people run it: Prefect flows over DVC's graph.

Prefect and DVC send no usage reports from here: this file switches the reports off before both are imported.
"""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
# A flow without a server starts a temporary one. On a busy machine that takes longer than the 20 s that Prefect allows.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "300")
