"""What a run did, on one page: `gather` reads, `lists` and `outputs` compare, `charts` draws, `run_page` writes."""
