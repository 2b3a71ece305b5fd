"""Ray on this machine only: two cores, little memory, no page, no reports to anyone."""

import os
import warnings
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"


@contextmanager
def local_ray():
    """A fresh Ray of two cores, shut down at the end whatever happens."""
    os.environ.update(
        RAY_USAGE_STATS_ENABLED="0",
        RAY_DATA_DISABLE_PROGRESS_BARS="1",
        PYTHONPATH=os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])]),
    )
    with warnings.catch_warnings():
        # Ray warns of its own old settings as it starts.
        warnings.simplefilter("ignore")
        import ray
        import ray.data

        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=80 * 2**20,
            configure_logging=False,
            log_to_driver=False,
        )
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
    try:
        yield ray
    finally:
        ray.shutdown()
