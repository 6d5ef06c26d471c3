"""One measured number and where it came from: a run is a folder of plain files that anyone can read.

`records.jsonl` holds one number a row, appended and never changed, so pandas, Polars and DuckDB read it without us;
`recipe.toml` says what was trained, `provenance.json` with what; arrays lie in `arrays/*.safetensors`.
"""

from deepcollapse.records.files import atomic_write
from deepcollapse.records.provenance import digest_of, environment
from deepcollapse.records.read import read_records
from deepcollapse.records.record import FIELDS, MODELS, SCHEMA_VERSION, Record
from deepcollapse.records.run import Run

__all__ = [
    "FIELDS",
    "MODELS",
    "SCHEMA_VERSION",
    "Record",
    "Run",
    "atomic_write",
    "digest_of",
    "environment",
    "read_records",
]
