//! What must hold of the way from a record to a document: nothing lost, nothing stale, bad input kept with a reason.

mod bad_input;
mod crash_recovery;
mod elasticsearch;
mod end_to_end;
mod invariant;
mod overload;
mod reload;
mod secured;
