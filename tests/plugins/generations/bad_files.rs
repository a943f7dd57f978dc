//! Bad files in the folder of a running gateway: the running generation stays, rows are processed, the error is reported, and the
//! next good file is published.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use ed25519_dalek::pkcs8::EncodePublicKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::{Signer, SigningKey};
use rowmill::plugins::status::{CandidateState, Status};
use rowmill_tests::gateway::binary;
use rowmill_tests::{bombs, guests};

use super::flow::{EITHER, FIRST, Flow, SECOND, first, second};
use super::log;
use super::stream::{FILE, Place, hash};

/// Checks that the next good file is published, and before it only the first.
#[track_caller]
fn end_with_second(mut flow: Flow) {
    flow.stream.put(&second());
    flow.until_running(EITHER, &second());
    flow.rows(SECOND);
    flow.assert_published(&[&first(), &second()]);
    flow.end();
}

/// Replaces the plugin's file, and checks that it is refused with these words.
#[track_caller]
fn refused(name: &str, bytes: &[u8], words: &[&str]) {
    let place = Place::new(name, "by=first", "");
    let mut flow = Flow::start(&place);
    flow.rows(FIRST);
    flow.stream.put(bytes);
    let reason = flow.until_refused(FIRST, &hash(bytes));
    for words in words {
        assert!(reason.contains(words), "{words:?} is not in {reason}");
    }
    flow.rows(FIRST);
    end_with_second(flow);
}

#[test]
fn a_corrupt_file_is_refused() {
    let mut bytes = guests::variant("by=corrupt");
    // In the middle of its code.
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xff);
    refused("corrupt", &bytes, &["compile: ", "Invalid input WebAssembly code"]);
}

#[test]
fn a_truncated_file_is_refused() {
    let bytes = guests::variant("by=truncated");
    refused("truncated", &bytes[..bytes.len() / 2], &["format: broken WebAssembly"]);
}

#[test]
fn a_foreign_file_is_refused() {
    let bytes = wat::parse_str(r#"(module (func (export "add") (param i32 i32) (result i32) local.get 0))"#);
    refused("foreign", &bytes.expect("a module"), &["exports: it does not export", "it exports add"]);
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    const MOST: usize = 1 << 20;
    let place = Place::new("too-large", "by=first", &format!("[limits]\nplugin_file = {MOST}\n"));
    let mut flow = Flow::start(&place);
    flow.rows(FIRST);
    let mut bytes = guests::variant("by=large");
    bytes.resize(MOST + 1, 0);
    flow.stream.put(&bytes);
    // It is not read, so it has no hash.
    let reason = flow.until_refused(FIRST, "");
    assert!(reason.contains(&MOST.to_string()) && reason.contains("limits.plugin_file"), "{reason}");
    end_with_second(flow);
}

#[test]
fn an_endless_file_does_not_block() {
    let place = Place::new("never-ends", "by=first", "");
    let mut flow = Flow::start(&place);
    flow.rows(FIRST);
    let begin = guests::variant("by=endless");
    fs::write(place.file(), &begin[..begin.len() / 2]).expect("a file that has begun");
    let mut file = OpenOptions::new().append(true).open(place.file()).expect("the file is there");
    let (stop, stopped) = bounded::<()>(0);
    let writer = std::thread::spawn(move || {
        while stopped.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
            file.write_all(b"more").expect("there is always more");
        }
    });
    let shown = place.file().display().to_string();
    flow.until(FIRST, "a warning", |_| log::warned(&[&shown, "is not loaded until it settles"]).then_some(()));
    assert_eq!(flow.stream.plugin().running.hash, hash(&first()));
    // It continues without a name when the next good file replaces it.
    flow.stream.put(&second());
    flow.until_running(EITHER, &second());
    drop(stop);
    writer.join().expect("it has written");
    flow.rows(SECOND);
    flow.assert_published(&[&first(), &second()]);
    flow.end();
}

#[test]
fn only_regular_files_are_read() {
    let place = Place::new("device", "by=first", "");
    let mut flow = Flow::start(&place);
    flow.rows(FIRST);
    let link = place.plugins().join(".link");
    symlink("/dev/zero", &link).expect("a link is made");
    fs::rename(&link, place.file()).expect("and put in its place");
    let reason = flow.until_refused(FIRST, "");
    assert!(reason.contains("device"), "{reason}");
    end_with_second(flow);
}

/// Replaces the plugin's file by one whose refusal takes long: rows are settled meanwhile, by the first generation. Returns the
/// reason.
#[track_caller]
fn refused_while_rows_flow(flow: &mut Flow, bytes: &[u8]) -> String {
    let hash = hash(bytes);
    let is_validating = |status: &Status| {
        let candidate = status.plugins.first().and_then(|plugin| plugin.candidate.as_ref());
        candidate.is_some_and(|candidate| candidate.hash == hash && candidate.state == CandidateState::Validating)
    };
    flow.stream.put(bytes);
    flow.until(FIRST, "it is being validated", |status| is_validating(status).then_some(()));
    // Written and settled completely during the refusal.
    let mut meanwhile = 0;
    loop {
        flow.rows(FIRST);
        if !is_validating(&flow.stream.status()) {
            break;
        }
        meanwhile += 1;
    }
    assert!(meanwhile > 0, "no row was settled while it was being validated");
    flow.until_refused(FIRST, &hash)
}

#[test]
fn a_compile_bomb_costs_no_row() {
    let mut place = Place::new("bomb", "by=first", "compile_memory = \"256MiB\"\n");
    place.program = Some(binary());
    let mut flow = Flow::start(&place);
    flow.rows(FIRST);
    let reason = refused_while_rows_flow(&mut flow, &bombs::compile_bomb(&first()));
    assert!(reason.starts_with("compile: ") && reason.contains("256 MiB"), "{reason}");
    assert!(reason.contains("plugins.compile_memory"), "{reason}");
    end_with_second(flow);
}

#[test]
fn a_compile_bomb_without_memory_limit_is_stopped_by_the_time_limit() {
    let mut place = Place::new("bomb-time", "by=first", "");
    place.program = Some(binary());
    // Compiled code is cached: with the short time limit, a busy machine may fail to compile even a good file.
    let mut flow = Flow::start(&place);
    for file in [second(), first()] {
        flow.stream.put(&file);
        flow.until_running(EITHER, &file);
    }
    flow.end();
    place.settings = "compile_memory = \"8GiB\"\ncompile_time = \"1s\"\n".into();
    let mut flow = Flow::start(&place);
    flow.rows(FIRST);
    let reason = refused_while_rows_flow(&mut flow, &bombs::compile_bomb(&first()));
    assert!(reason.starts_with("compile: ") && reason.contains("plugins.compile_time"), "{reason}");
    end_with_second(flow);
}

#[test]
fn a_start_function_that_hangs_costs_no_row() {
    let mut place = Place::new("hangs", "by=first", "[limits]\nplugin_setup_time = \"3s\"\n");
    place.program = Some(binary());
    let mut flow = Flow::start(&place);
    flow.rows(FIRST);
    let reason = refused_while_rows_flow(&mut flow, &bombs::hanging_start(&first()));
    assert!(reason.contains("instantiate: ") && reason.contains("the limit of 3000 ms"), "{reason}");
    end_with_second(flow);
}

#[test]
fn a_file_is_refused_until_it_is_signed() {
    let mut place = Place::new("signed", "by=first", "");
    let pair = SigningKey::from_bytes(&[7; 32]);
    let key = place.folder.path().join("key.pem");
    let public = pair.verifying_key().to_public_key_pem(LineEnding::LF).expect("a key in PEM");
    fs::write(&key, public).expect("the key is written");
    place.settings = format!("trusted_keys = [{:?}]\n", key.display().to_string());
    let signature = place.plugins().join(format!("{FILE}.sig"));
    let sign = |bytes: &[u8]| fs::write(&signature, pair.sign(bytes).to_bytes()).expect("it is signed");
    sign(&first());
    let mut flow = Flow::start(&place);
    flow.rows(FIRST);

    // The signature beside it belongs to the previous file.
    let third = guests::variant("by=third");
    flow.stream.put(&third);
    let reason = flow.until_refused(FIRST, &hash(&third));
    assert!(reason.starts_with("trust: ") && reason.contains("plugins.trusted_keys"), "{reason}");

    fs::remove_file(&signature).expect("the signature is removed");
    flow.stream.put(&second());
    let reason = flow.until_refused(FIRST, &hash(&second()));
    assert!(reason.starts_with("trust: ") && reason.contains("x.wasm.sig"), "{reason}");
    flow.rows(FIRST);
    sign(&second());
    end_with_second(flow);
}
