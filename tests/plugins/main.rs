//! Tests of plugins in a running gateway: swapped without losing rows, rolled back, controlled over HTTP and by commands.

mod control;
mod generations;
mod hot_swap;
