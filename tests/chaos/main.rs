//! Delivery under faults: a driver that makes up a workload, faults and interruptions from a seed, and checks that the documents
//! equal the plugins applied to the tables.
//!
//! Each test runs a range of seeds, a small one by default. `ROWMILL_CHAOS_SEEDS=FROM..TO` sets it, so `FROM..FROM+1` runs one
//! seed again; `make chaos` runs the large ranges. A seed that fails is printed with the smallest scenario that still fails.

mod faults;
mod in_process;
mod plugin;
mod processes;
mod proxy;
mod seeds;
mod servers;
mod steps;
mod store;
mod workload;
