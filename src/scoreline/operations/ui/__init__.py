"""Pages about a pipeline, served: `lookups` reads, `pages` answers a request, `server` says who may ask."""
