//! Rowmill: a gateway between a MySQL binlog and Elasticsearch that runs every row through sandboxed plugins.
//!
//! # Bird's-eye view
//!
//! Change events come from Kafka as Canal, Debezium or Maxwell wrote them. Each is decoded to *rows*: a table version, an
//! operation, an image before and an image after. The images go through a chain of *plugins*, WebAssembly in a sandbox,
//! each of which says what *documents* an image is. The documents of the image after are written, those that only the
//! image before gives are deleted, all with versions from the binlog's own order. What cannot be processed is a *dead
//! letter*. What is settled moves the *watermark* that is committed.
//!
//! ```text
//!          source ────▶ decode ─▶ plugins ─▶ documents ────▶ pending ─▶ _bulk ─▶ Elasticsearch
//!        poll thread          transform workers                  writer task
//!            ▲        16 batches a worker       64 batches          │
//!            └───────────────── watermark ◀── tickets ◀─────────────┤
//!                                                └── dead letters ◀─┘ 1024 letters
//! ```
//!
//! # Code map
//!
//! - [`pipeline`]: the whole flow on one screen, and how it ends. The only place that knows all the others.
//! - [`source`]: Kafka, files, the demo's broker. Batches by partition, pauses, commits watermarks.
//! - [`rowmill_rows`]: records to rows. Knows the three tools' formats and nothing else.
//! - [`transform`]: rows through the chain to document operations, in a worker thread that owns its plugin instances.
//! - [`rowmill_sandbox`]: the sandbox. Knows WebAssembly and the contract in `wit/`; no Kafka, no Elasticsearch.
//! - [`rowmill_engine::version`]: a document's version out of a row's position. Pure.
//! - [`sink`]: what waits, bulk requests, the retry table, merges, truncates.
//! - [`checkpoint`]: tickets and watermarks. Pure.
//! - [`dead_letter`]: records that cannot be processed, kept whole with the reason.
//! - [`plugins`]: the folder: watch, prove, try, publish, take back.
//! - [`config`], [`command`], [`http`], [`metrics`]: what a person sees. [`reload`]: the configuration changed while it runs.
//! - [`rowmill_harness`]: rows from files through one plugin, and golden cases; behind `rowmill plugin` and plugins' tests.
//! - [`rowmill_store`]: the embedded store, an in-process server that answers as Elasticsearch does.
//!
//! Dependencies point one way: command → pipeline → {source, transform, sink, checkpoint, dead letters} → row and
//! document types. Sources, transform and sink do not know each other.
//!
//! # Invariants
//!
//! - **Elasticsearch equals the plugins applied to the tables.** Everything is tested against this.
//! - Every record ends as written, stale, filtered on purpose, or a dead letter that was acknowledged; only then is its
//!   offset committed. Killing the process at any point loses nothing.
//! - A document's versions come from the source, so any order of arrival ends in the same document.
//! - A document is in at most one bulk request at a time; an item's outcome is matched by its place among *all* items.
//! - A bulk request's lines are the host's alone: whatever a plugin computes is checked to be one JSON value on one line.
//! - The poll thread never waits for work, so a rebalance is never missed: it pauses and polls on.
//! - A batch is transformed by one published chain, so by one generation of each plugin; in a canary, and there alone,
//!   a share of its documents by the one on trial.
//! - A generation that fails is taken back, and what it failed is transformed by the last good one in the same batch.
//! - The data path makes no tree of a message and allocates nothing per row: cells are ranges of the records' bytes.
//!
//! Deliberately absent: the sandbox knows no Kafka, the decoder knows no configuration file, nothing in the data path is
//! asynchronous before the writer, and no plugin can write a `_bulk` line.
//!
//! # Decisions that are easy to undo by mistake
//!
//! - *Columns that a plugin reads are the answer of `define-table`*, not of `describe`: a filter's columns come from its
//!   settings, which `describe` does not see.
//! - *Instances reserve 4 GiB of address space each* and are made on demand. With the reservation no memory access is
//!   checked against bounds (measured: 1.5 to 1.0 µs a row for the shape of 41 columns); an instance is made once a
//!   worker and generation, so a pool would save nothing.
//! - *Maxwell's `xoffset` counts from the transaction's start*, so only its low bits may follow the position in a
//!   version: the whole number would pass the next event's position after a large transaction.
//! - *A statement's time can run backwards in the binlog* (it is when the statement began), so time versions are held
//!   per partition, and the held time is kept with the committed offset.
//! - *A truncate deletes with its own version* what a scroll over the index finds. No position field in the documents is
//!   needed; only documents outside of their table's own index are marked with their table. Those of a plugin of the
//!   mode `change` are not: they tell of changes (an audit trail), and a truncate is nothing to them.
//! - *A record's dead letter waits for the whole batch's outcomes*, since its documents are refused one by one, in
//!   several requests, and a record has one letter.
//! - *Indices that Rowmill creates ignore malformed values and guess no dates.* The database says what a value is; a
//!   value that the mapping cannot index stays in the document and is named in its `_ignored`.
//! - *The partition's end is taken from the client's statistics.* Asking the brokers for it from the poll thread, with a
//!   short time-out, made the client drop the connection that it was fetching on.
//! - *A row's own columns are copied in runs.* Where the source wrote them as they will stand in the body, the gap between
//!   two cells is exactly a comma and the name; a name that needs an escape ends the run, since it could hide a line break.
//! - *The SDK copies short texts word by word.* In the sandbox a copy whose length the compiler does not know is a call out
//!   of it (measured: 0.07 µs a row for the shape of 41 columns).
//! - *Items of arrays keep their versions beside the array*, also those that are gone, and stand in the order of their keys:
//!   any order of arrival must end in the same array.
//! - *Rows that a generation on probation fails are not held back until its window ends*: held records keep their whole
//!   batches in memory and the watermark still. The batch goes through the last good chain at once, which has instances
//!   in every worker for as long as the window lasts; so a rollback costs the rows nothing either.
//! - *Only what the last good generation takes counts against a new one.* A row that fails in both is a poison row, a dead
//!   letter, and no reason to go back.
//! - *What is only compared has indices and metrics of its own.* With the real ones a shadow's mapping could be the first
//!   that an index is created with.
//! - *What proves plugins has a low priority, and what decides over them never waits for it*: one thread compiles, tries and
//!   probes, another takes generations back.
//! - *Retired instances are dropped by the proving thread.* Giving their memory back took a batch longer than turning to the
//!   new chain (measured: a median of 296 µs with it, 128 without).
//! - *A generation's instances are made before it is published, and go with it from lane to lane*, so that a swap costs a
//!   batch no instantiation.
//! - *Components may have several memories.* With that off the engine panics on a component of several parts.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

pub mod pipeline;

pub mod sink;
pub mod source;
pub mod transform;

pub mod checkpoint;
pub mod dead_letter;
pub(crate) mod kafka;
pub mod operation;
pub mod plugins;

pub mod command;
pub mod config;
pub mod http;
pub mod metrics;
pub mod reload;
pub mod report;
pub mod shutdown;
