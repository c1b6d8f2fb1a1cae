"""Models, and making them from configs."""
from graphk.frontend.models import *                # noqa: F401,F403
