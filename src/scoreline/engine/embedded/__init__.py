"""The engine without a JVM: Sail computes, delta-rs keeps the tables' logs."""
