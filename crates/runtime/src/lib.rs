//! What every process needs: tracing, metrics registry, admin server, signals.
