//! What must hold of plugins in a running gateway: swapped without a loss, rolled back, controlled by HTTP and commands.

mod control;
mod generations;
mod hot_swap;
