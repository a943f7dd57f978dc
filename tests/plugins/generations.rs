//! A generation is validated before publication, watched afterwards, and rolled back automatically; and no row is lost
//! meanwhile.

mod bad_files;
mod flow;
mod log;
mod many;
mod stream;
mod watching;

use std::collections::BTreeSet;

use rowmill::config::{Rollout, RolloutMode};
use rowmill::plugins::status::{CandidateState, CommandError, OperatorCommand, PluginState};
use rowmill_tests::{guests, wait};
use serde_json::json;
use stream::{PATIENCE, Place, happened, hash};

/// IDs that the actions below do not affect: none is a multiple of 100.
fn harmless(from: u64, n: u64) -> impl Iterator<Item = u64> {
    (from..).filter(|id| id % 100 != 0).take(n as usize)
}

#[test]
fn a_generation_that_traps_on_one_row_in_a_hundred_is_rolled_back_without_losing_rows() {
    let place = Place::new("taken-back", "by=first", "[plugins.probation]\nwindow = \"60s\"\n");
    let mut stream = place.start();
    stream.write(harmless(1, 500));
    stream.settle();
    // The last rows do not reveal it.
    let second = guests::variant("by=second trap=100");
    stream.put(&second);
    let plugin = stream.until_running(&second);
    assert_eq!(plugin.state, PluginState::Probation);
    stream.write(10_000..20_000);
    stream.settle();
    let plugin = stream.until_candidate(CandidateState::RolledBack);
    assert_eq!(plugin.state, PluginState::Running);
    assert_eq!(plugin.running.hash, hash(&guests::variant("by=first")));
    let candidate = plugin.candidate.expect("it has a candidate");
    assert_eq!(candidate.hash, hash(&second));
    let reason = candidate.reason.expect("why");
    assert!(reason.contains("rows that the last good generation accepts"), "{reason}");
    assert!(reason.contains("the first is of shop.thing: it panicked"), "{reason}");
    assert!(candidate.promotable, "an operator may publish it again");
    stream.write(20_000..20_500);
    stream.settle();
    let documents = stream.documents();
    assert_eq!(documents.len(), 499 + 1 + 10_000 + 500, "every row is a document");
    for id in (10_000..20_500).step_by(100) {
        assert_eq!(documents[&id].by, "first", "what it failed was transformed again: {id}");
    }
    assert!(documents.range(20_000..).all(|(_, made)| made.by == "first"));
    let summary = stream.end();
    assert_eq!((summary.events, summary.dead_letters, summary.filtered), (11_000, 0, 0));
    assert!(place.letters().is_empty());

    // A restart does not publish it again, although it is still in the folder.
    let mut stream = place.start();
    // It reads from the pipe: one that ends before it is opened would leave it waiting for a writer.
    stream.write([30_000]);
    stream.settle();
    let plugin = stream.plugin();
    assert_eq!(plugin.running.hash, hash(&guests::variant("by=first")));
    let reason = plugin.candidate.expect("it has a candidate").reason.expect("why");
    assert!(reason.contains("rolled back before"), "{reason}");
    stream.end();
}

#[test]
fn stamped_documents_name_the_generation() {
    let place = Place::new("stamp", "by=first", "stamp = true\n");
    let mut stream = place.start();
    stream.write([1]);
    stream.settle();
    let second = guests::variant("by=second");
    stream.put(&second);
    let plugin = stream.until_running(&second);
    stream.write([2]);
    stream.settle();
    let stamp = |id: &str| {
        let documents = stream.raw_documents();
        documents.into_iter().find(|(known, _)| known == id).expect("the document").1["_rowmill"].clone()
    };
    let of =
        |generation: u64, bytes: &[u8]| json!({"plugins": [format!("variant#{generation}@{}", &hash(bytes)[..12])]});
    assert_eq!(stamp("1"), of(1, &guests::variant("by=first")));
    assert_eq!(stamp("2"), of(plugin.running.generation, &second));
    stream.end();
}

#[test]
fn a_row_that_all_generations_fail_causes_no_rollback() {
    let place = Place::new("poison", "by=first fail=77", "");
    let mut stream = place.start();
    stream.write(1..50);
    let second = guests::variant("by=second fail=77 trap=1000");
    stream.settle();
    stream.put(&second);
    stream.until_running(&second);
    // 77 and similar rows fail in both; 1,000 fails only in the new one, once.
    stream.write(60..1_060);
    stream.settle();
    let plugin = stream.plugin();
    assert_eq!((plugin.state, plugin.running.hash.as_str()), (PluginState::Probation, &*hash(&second)));
    let documents = stream.documents();
    assert_eq!(documents[&1_000].by, "first", "the last good generation takes it");
    assert_eq!(documents[&61].by, "second");
    let summary = stream.end();
    let poison = (60..1_060).filter(|id| id % 77 == 0).count() as u64;
    assert_eq!((summary.dead_letters, documents.len() as u64), (poison, 49 + 1_000 - poison));
    for letter in place.letters() {
        assert_eq!(letter["error"]["plugin"], "variant");
        assert!(letter["error"]["reason"].as_str().is_some_and(|reason| reason.contains("told to fail")), "{letter}");
    }
}

#[test]
fn a_generation_that_is_too_slow_is_rolled_back() {
    let place = Place::new("slow", "by=first", "[plugins.probation]\nrow_time = \"200us\"\n");
    let mut stream = place.start();
    stream.write(1..100);
    stream.settle();
    let second = guests::variant("by=second slow=4000");
    stream.put(&second);
    stream.until_running(&second);
    stream.write(1_000..6_000);
    let plugin = stream.until_candidate(CandidateState::RolledBack);
    let reason = plugin.candidate.and_then(|candidate| candidate.reason).expect("why");
    assert!(reason.contains("µs per row on average"), "{reason}");
    stream.settle();
    assert_eq!(stream.documents().len(), 99 + 5_000);
    stream.end();
}

#[test]
fn a_generation_that_hangs_on_every_row_is_rolled_back_after_a_few_calls() {
    let limits = "[limits]\nplugin_batch_time = \"20ms\"\nplugin_image_time = \"40us\"\n";
    let place = Place::new("hangs", "by=first", limits);
    let mut stream = place.start();
    stream.write(1..100);
    stream.settle();
    let second = guests::variant("by=second hang=1000");
    stream.put(&second);
    stream.until_running(&second);
    stream.write(1_000..5_000);
    stream.until_candidate(CandidateState::RolledBack);
    stream.settle();
    let documents = stream.documents();
    assert_eq!(documents.len(), 99 + 4_000);
    assert!(documents.values().all(|made| made.by == "first"));
    assert_eq!(stream.end().dead_letters, 0);
}

#[test]
fn a_generation_is_good_after_probation_and_can_still_be_rolled_back() {
    let place = Place::new("good", "by=first", "[plugins.probation]\nwindow = \"200ms\"\n");
    let mut stream = place.start();
    let second = guests::variant("by=second");
    stream.put(&second);
    stream.until_running(&second);
    stream.write(1..10);
    let plugin = stream.until("it is good", |plugin| plugin.state == PluginState::Running);
    assert!(happened(&plugin, "passed probation"));
    let said = stream.control.command("variant", OperatorCommand::Rollback).expect("it goes back");
    assert!(said.contains(&hash(&guests::variant("by=first"))[..12]), "{said}");
    stream.write(10..20);
    stream.settle();
    assert_eq!(stream.documents()[&15].by, "first");
    let again = stream.control.command("variant", OperatorCommand::Promote).expect("and on again");
    assert!(again.contains(&hash(&second)[..12]), "{again}");
    stream.write(20..30);
    stream.settle();
    assert_eq!(stream.documents()[&25].by, "second");
    let unknown = stream.control.command("varian", OperatorCommand::Disable).expect_err("no such plugin");
    assert_eq!(unknown, CommandError::Unknown("no plugin is named \"varian\"; plugins: variant".into()));

    stream.control.command("variant", OperatorCommand::Disable).expect("it is disabled");
    stream.write(30..40);
    stream.settle();
    assert_eq!(stream.documents()[&35].by, "", "rows pass unshaped");
    assert_eq!(stream.plugin().state, PluginState::Disabled);
    stream.end();

    // The command survives a restart.
    let mut stream = place.start();
    assert_eq!(stream.plugin().state, PluginState::Disabled);
    stream.control.command("variant", OperatorCommand::Enable).expect("it is enabled");
    stream.write(40..50);
    stream.settle();
    assert_eq!(stream.documents()[&45].by, "second");
    stream.end();
}

#[test]
fn a_rolled_back_file_stays_rejected_after_it_disappears_and_returns() {
    let place = Place::new("away", "by=first", "");
    let mut stream = place.start();
    stream.write([1]);
    stream.settle();
    let second = guests::variant("by=second");
    stream.put(&second);
    stream.until_running(&second);
    stream.control.command("variant", OperatorCommand::Rollback).expect("it goes back");
    std::fs::remove_file(place.file()).expect("the file is removed");
    wait::until("the plugin is removed", PATIENCE, || stream.status().plugins.is_empty());
    stream.put(&second);
    let refused = wait::value("it is refused", PATIENCE, || stream.status().refused.pop());
    assert!(refused.reason.contains("rolled back before"), "{refused:?}");
    assert!(stream.status().plugins.is_empty());
    let third = guests::variant("by=third");
    stream.put(&third);
    wait::until("another file is taken", PATIENCE, || stream.status().plugins.len() == 1);
    stream.until_running(&third);
    stream.end();
}

#[test]
fn a_shadow_finds_one_field_in_one_document_of_ten_thousand() {
    let settings = "[plugins.rollout]\nmode = \"shadow\"\nrows = 10_000\nshare = 1.0\n";
    let place = Place::new("shadow", "by=same", settings);
    let mut stream = place.start();
    stream.write(1..10);
    stream.settle();
    let second = guests::variant("by=same odd=7777");
    stream.put(&second);
    stream.until_candidate(CandidateState::Shadow);
    stream.write(1_000..11_000);
    let plugin = stream.until_candidate(CandidateState::Held);
    let candidate = plugin.candidate.expect("the candidate");
    let trial = candidate.trial.expect("its trial");
    assert_eq!((trial.rows, trial.equal, trial.changed, trial.added, trial.missing), (10_000, 9_999, 1, 0, 0));
    assert_eq!((trial.failed_old, trial.failed_new), (0, 0));
    assert_eq!(trial.fields.len(), 1);
    assert_eq!((trial.fields[0].field.as_str(), trial.fields[0].documents), ("name", 1));
    let example = &trial.examples[0];
    assert_eq!((example.index.as_str(), example.id.as_str(), example.kind.as_str()), ("thing", "7777", "changed"));
    assert_eq!(example.fields[0].old.as_deref(), Some("\"thing 7777\""));
    assert_eq!(example.fields[0].new.as_deref(), Some("\"odd\""));
    assert!(trial.us_per_row_old.is_some() && trial.us_per_row_new.is_some());
    let reason = candidate.reason.expect("why it is held");
    assert!(reason.contains("1 of 10000 documents differ (1 changed, 0 added, 0 missing), in name"), "{reason}");
    stream.settle();
    assert_eq!(stream.documents()[&7_777].name, "thing 7777", "a shadow writes nothing");

    stream.control.command("variant", OperatorCommand::Promote).expect("an operator decides");
    stream.write([7_777]);
    stream.settle();
    assert_eq!(stream.documents()[&7_777].name, "odd");
    stream.end();
}

#[test]
fn a_restart_does_not_publish_a_held_generation() {
    let place = Place::new("held", "by=first", "[plugins.rollout]\nmode = \"shadow\"\nrows = 100\nshare = 1.0\n");
    let mut stream = place.start();
    let second = guests::variant("by=second");
    stream.put(&second);
    stream.until_candidate(CandidateState::Shadow);
    stream.write(1..200);
    stream.until_candidate(CandidateState::Held);
    stream.settle();
    stream.end();

    let mut stream = place.start();
    let plugin = stream.plugin();
    assert_eq!(plugin.running.hash, hash(&guests::variant("by=first")));
    let candidate = plugin.candidate.expect("the new file is tried anew");
    assert_eq!((candidate.state, candidate.hash), (CandidateState::Shadow, hash(&second)));
    stream.write(1_000..1_200);
    stream.until_candidate(CandidateState::Held);
    stream.settle();
    assert!(stream.documents().values().all(|made| made.by == "first"));
    stream.control.command("variant", OperatorCommand::Promote).expect("an operator decides");
    stream.write(2_000..2_010);
    stream.settle();
    assert_eq!(stream.documents()[&2_005].by, "second");
    stream.end();
}

#[test]
fn the_trial_of_a_disabled_plugin_restarts_when_it_is_enabled() {
    let settings = "[plugins.rollout]\nmode = \"shadow\"\nrows = 1_000\nshare = 1.0\n";
    let place = Place::new("shadow-disabled", "by=same", settings);
    let mut stream = place.start();
    stream.write(1..10);
    stream.settle();
    let second = guests::variant("by=same odd=999999");
    stream.put(&second);
    stream.until_candidate(CandidateState::Shadow);
    stream.control.command("variant", OperatorCommand::Disable).expect("it is disabled");
    let plugin = stream.until_candidate(CandidateState::Validating);
    let reason = plugin.candidate.and_then(|candidate| candidate.reason).expect("why it waits");
    assert!(reason.contains("once the plugin is enabled"), "{reason}");
    stream.write(1_000..3_000);
    stream.settle();
    stream.control.command("variant", OperatorCommand::Enable).expect("it is enabled");
    stream.until_candidate(CandidateState::Shadow);
    stream.write(3_000..5_000);
    stream.until_running(&second);
    stream.settle();
    stream.end();
}

#[test]
fn a_shadow_without_differences_is_published_automatically() {
    let place = Place::new("shadow-equal", "by=same", "");
    let mut stream = place.start();
    stream.write(1..10);
    stream.settle();
    let rollout = Rollout { mode: RolloutMode::Shadow, rows: 1_000, share: 0.5, ..Rollout::default() };
    stream.control.command("variant", OperatorCommand::Rollout(rollout)).expect("it is taken");
    let second = guests::variant("by=same odd=999999");
    stream.put(&second);
    stream.until_candidate(CandidateState::Shadow);
    stream.write(1_000..6_000);
    let plugin = stream.until_running(&second);
    assert!(plugin.history.iter().any(|event| event.detail.contains("0 of")), "{:#?}", plugin.history);
    stream.settle();
    stream.end();
}

#[test]
fn a_canary_processes_a_stable_share_of_the_ids_and_then_all() {
    let settings = "[plugins.rollout]\nmode = \"canary\"\nrows = 2_000\nshare = 0.2\npublish = false\n";
    let place = Place::new("canary", "by=first", settings);
    let mut stream = place.start();
    stream.write(1..10);
    stream.settle();
    let second = guests::variant("by=second");
    stream.put(&second);
    stream.until_candidate(CandidateState::Canary);
    let of_second = |stream: &stream::Stream| -> BTreeSet<u64> {
        stream.documents().into_iter().filter(|(_, made)| made.by == "second").map(|(id, _)| id).collect()
    };
    stream.write(1_000..6_000);
    stream.settle();
    let share = of_second(&stream);
    assert!((800..1_200).contains(&share.len()), "a fifth of 5,000: {}", share.len());
    stream.write(1_000..6_000);
    stream.settle();
    assert_eq!(of_second(&stream), share, "the same ids");
    stream.write(6_000..8_000);
    let plugin = stream.until_candidate(CandidateState::Held);
    assert!(plugin.candidate.expect("it waits").trial.expect("its trial").rows >= 2_000);
    stream.control.command("variant", OperatorCommand::Promote).expect("an operator decides");
    stream.write(1_000..1_500);
    stream.settle();
    assert!((1_000..1_500).all(|id| of_second(&stream).contains(&id)));
    let summary = stream.end();
    assert_eq!(summary.dead_letters, 0);
}

#[test]
fn a_canary_that_traps_is_rolled_back_without_losing_rows() {
    let settings = "[plugins.rollout]\nmode = \"canary\"\nrows = 100_000\nshare = 0.5\n";
    let place = Place::new("canary-traps", "by=first", settings);
    let mut stream = place.start();
    stream.write(harmless(1, 200));
    stream.settle();
    stream.put(&guests::variant("by=second trap=100"));
    stream.until_candidate(CandidateState::Canary);
    stream.write(10_000..20_000);
    stream.settle();
    let plugin = stream.until_candidate(CandidateState::RolledBack);
    assert_eq!(plugin.running.hash, hash(&guests::variant("by=first")));
    let documents = stream.documents();
    assert_eq!(documents.range(10_000..20_000).count(), 10_000);
    assert!((10_000..20_000).step_by(100).all(|id| documents[&id].by == "first"));
    let summary = stream.end();
    assert_eq!(summary.dead_letters, 0);
}

#[test]
fn the_probe_refuses_a_file_that_fails_the_last_rows() {
    let place = Place::new("probe", "by=first", "");
    let mut stream = place.start();
    stream.write(1..300);
    stream.settle();
    let second = guests::variant("by=second trap=2");
    stream.put(&second);
    let plugin = stream.until_candidate(CandidateState::Refused);
    let reason = plugin.candidate.and_then(|candidate| candidate.reason).expect("why");
    assert!(reason.starts_with("probe: of the last"), "{reason}");
    assert!(reason.contains("the first is of shop.thing: it panicked"), "{reason}");
    stream.write(300..310);
    stream.settle();
    assert_eq!(stream.documents()[&304].by, "first");
    // An operator may publish it anyway.
    stream.control.command("variant", OperatorCommand::Promote).expect("it is published all the same");
    stream.write(311..312);
    stream.settle();
    assert_eq!(stream.documents()[&311].by, "second");
    stream.end();
}

#[test]
fn a_restart_with_a_bad_file_runs_the_last_good_one() {
    let place = Place::new("last-good", "by=first", "");
    let mut stream = place.start();
    stream.write(1..5);
    stream.settle();
    stream.end();
    place.put(b"\0asm no plugin at all");
    let mut stream = place.start();
    let plugin = stream.plugin();
    assert_eq!(plugin.running.hash, hash(&guests::variant("by=first")));
    assert_eq!(plugin.candidate.expect("it has a candidate").state, CandidateState::Refused);
    stream.write(5..10);
    stream.settle();
    assert_eq!(stream.documents()[&7].by, "first");
    // The next good file loads.
    let third = guests::variant("by=third");
    stream.put(&third);
    stream.until_running(&third);
    stream.end();
}
