"""The pipeline as people run it: Prefect flows over DVC's graph.

Prefect and DVC send no usage reports from here: this file switches the reports off before both are imported.
"""

import os

os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
# A flow without a server starts a temporary one. On a busy machine that takes longer than the 20 s that Prefect allows.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "300")


def _keep_loopback_off_proxies() -> None:
    """Adds this machine to NO_PROXY.

    Prefect's clients would ask a proxy for 127.0.0.1 too.
    """
    hosts = [host for host in (os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "").split(",") if host]
    hosts += [host for host in ("127.0.0.1", "localhost", "::1") if host not in hosts]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(hosts)


_keep_loopback_off_proxies()
