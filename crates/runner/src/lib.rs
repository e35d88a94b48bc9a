//! One attempt's life: heartbeat, watchdog, actions in order, guard, results, finish.
