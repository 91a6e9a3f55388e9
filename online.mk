# The online path's targets; the Makefile includes this file.
.PHONY: fraud-demo fraud-quality bench-online fuzz-online

fraud-demo: $(STAMP) ## Card fraud from made-up payments to served decisions (about a minute)
	@$(BIN)/scoreline fraud-demo

fraud-quality: $(STAMP) ## The table of model quality on made-up payments of the Handbook's size
	@$(BIN)/scoreline fraud-train --simulate --estimator all

bench-online: $(STAMP) ## CPU per request, latency and throughput beside other servers (about 20 minutes)
	$(BIN)/python benchmarks/online_bench.py

fuzz-online: $(STAMP) ## Requests against the contract by the thousand, and the commands themselves (about 10 minutes)
	$(BIN)/python -m pytest tests/online -m slow
