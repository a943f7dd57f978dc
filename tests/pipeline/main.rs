//! Tests of the pipeline from records to documents: nothing is lost, nothing is stale, bad input is kept with a reason.

mod bad_input;
mod crash_recovery;
mod elasticsearch;
mod end_to_end;
mod group;
mod invariant;
mod overload;
mod reload;
mod secured;
mod versions;
