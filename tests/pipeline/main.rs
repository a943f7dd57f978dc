//! Tests of the pipeline from records to documents: nothing is lost, nothing is stale, bad input is kept with a reason.

mod bad_input;
mod crash_recovery;
mod dead_letters;
mod elasticsearch;
mod end_to_end;
mod group;
mod invariant;
mod overload;
mod reload;
mod replay;
mod secured;
mod versions;
