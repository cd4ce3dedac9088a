"""The pipeline: the files here are its stages, the folders their rooms."""

import os

from stages.run.parent import end_with_dvc

# Idle threads of OpenMP sleep. By default they spin, and on a busy machine training then takes many times longer.
# libgomp reads the variable when torch is imported, so it is set before.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

end_with_dvc()  # here, because every stage imports this first, and some take seconds to import the rest
