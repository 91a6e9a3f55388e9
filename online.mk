# The online path's targets; the Makefile includes this file.
PYTHON ?= .venv/bin/python

.PHONY: fraud-demo fraud-quality bench-online fuzz-online

fraud-demo: ## Card fraud from made-up payments to served decisions (about a minute)
	$(PYTHON) -m scoreline fraud-demo

fraud-quality: ## The table of model quality on made-up payments of the Handbook's size
	$(PYTHON) -m scoreline fraud-train --simulate --estimator all

bench-online: ## CPU per request, latency and throughput beside other servers (about 20 minutes)
	$(PYTHON) benchmarks/online_bench.py

fuzz-online: ## Malformed bodies by the thousand against a real server
	$(PYTHON) -m pytest tests/online/fuzz -m slow
