"""Keep what is known of a run as files in its folder."""

from pwfn.records.columns import Column
from pwfn.records.rounds import RoundRecord, Scores, read_records

__all__ = ["Column", "RoundRecord", "Scores", "read_records"]
