"""The only place that calls the stages in order: check, plan, train, serve, evaluate, store, report, promote, rate."""
