"""Train a model on `user_history`, register it, and move the alias that runs look at."""

import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame

from scoreline import registry
from scoreline.context import Context
from scoreline.errors import ConfigurationError, InputError
from scoreline.histories import bucket_of
from scoreline.schema import USER_ID
from scoreline.settings import Settings
from scoreline.tables import explained
from scoreline.training import train

_COLUMNS = (USER_ID, "item_ids", "weights", "event_times")
