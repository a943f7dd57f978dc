//! However a file is put into the folder of a running gateway, it is published complete, once, and without losing rows.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Instant, SystemTime};

use rowmill::plugins::folder::GRACE;
use rowmill_tests::guests;

use super::flow::{EITHER, FIRST, Flow, NOBODY, SECOND, first, second};
use super::log;
use super::stream::{FILE, Place, hash};

/// Changes are found only by events: the next poll is an hour later.
const EVENTS: &str = "poll = \"1h\"\n";
/// Nothing is found but by looking.
const POLL: &str = "events = false\npoll = \"50ms\"\n";

/// A gateway with the first generation at work.
#[track_caller]
fn start(name: &str, settings: &str) -> (Place, Flow) {
    let place = Place::new(name, "by=first", settings);
    let mut flow = Flow::start(&place);
    flow.rows(FIRST);
    (place, flow)
}

/// Waits for the second generation, and for its rows; no other file was published than the two.
#[track_caller]
fn end_with_second(mut flow: Flow) {
    let plugin = flow.until_running(EITHER, &second());
    assert_eq!(plugin.running.generation, 2);
    flow.rows(SECOND);
    flow.assert_published(&[&first(), &second()]);
    flow.end();
}

fn new_file(settings: &str) {
    let place = Place::new("new-file", "by=first", settings);
    fs::remove_file(place.file()).expect("the folder is emptied");
    let mut flow = Flow::start(&place);
    flow.rows(&[NOBODY]);
    fs::write(place.file(), first()).expect("the plugin is written");
    flow.until_running(&[NOBODY, "first"], &first());
    flow.rows(FIRST);
    flow.assert_published(&[&first()]);
    flow.end();
}

fn rewritten_in_place(settings: &str) {
    let (place, mut flow) = start("in-place", settings);
    let bytes = second();
    let (half, rest) = bytes.split_at(bytes.len() / 2);
    let pieces = |bytes: &[u8]| bytes.chunks(bytes.len().div_ceil(4)).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let mut file = File::create(place.file()).expect("the file is there");
    for piece in pieces(half) {
        file.write_all(&piece).expect("a piece is written");
        flow.rows(FIRST);
    }
    // Whoever writes pauses for so long that the half looks like all of it.
    let reason = flow.until_refused(FIRST, &hash(half));
    assert!(reason.starts_with("format: "), "{reason}");
    for piece in pieces(rest) {
        flow.rows(FIRST);
        file.write_all(&piece).expect("a piece is written");
    }
    end_with_second(flow);
}

fn renamed_over(settings: &str) {
    let (_place, flow) = start("renamed", settings);
    flow.stream.put(&second());
    end_with_second(flow);
}

fn deleted_and_created(settings: &str) {
    for _ in 0..20 {
        let (place, mut flow) = start("deleted", settings);
        let begin = Instant::now();
        fs::remove_file(place.file()).expect("the plugin is removed");
        // Once this file is refused, the folder was scanned while the plugin's file was missing.
        let folder = place.plugins().join("folder.wasm");
        fs::create_dir(&folder).expect("a folder is made");
        flow.until_file_refused(FIRST, &folder);
        fs::write(place.file(), second()).expect("the plugin is made again");
        if begin.elapsed() < GRACE {
            return end_with_second(flow);
        }
        // The machine was too busy for it; once more.
    }
    panic!("a look at the folder takes longer than {GRACE:?}, over and over");
}

/// A Kubernetes ConfigMap volume: one folder per version, and visible links through `..data`.
struct Volume<'a>(&'a Path);

impl Volume<'_> {
    /// Writes another version and swaps `..data`, as the kubelet does.
    fn write(&self, version: &str, bytes: &[u8]) {
        let Self(folder) = self;
        let earlier = fs::read_link(folder.join("..data")).ok();
        fs::create_dir(folder.join(version)).expect("a version's folder is made");
        fs::write(folder.join(version).join(FILE), bytes).expect("its file is written");
        symlink(version, folder.join("..data_tmp")).expect("a link is made");
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("and takes the place of the other");
        match earlier {
            None => symlink(Path::new("..data").join(FILE), folder.join(FILE)).expect("a link is made"),
            Some(earlier) => fs::remove_dir_all(folder.join(earlier)).expect("the earlier version is removed"),
        }
    }
}

fn kubernetes_swaps_its_data(settings: &str) {
    let place = Place::new("kubernetes", "by=first", settings);
    fs::remove_file(place.file()).expect("the folder is emptied");
    let plugins = place.plugins();
    let volume = Volume(&plugins);
    volume.write("..2026_11_21_15_00_00.1234567891", &first());
    let mut flow = Flow::start(&place);
    flow.rows(FIRST);
    volume.write("..2026_11_21_15_01_00.2345678912", &second());
    flow.until_running(EITHER, &second());
    flow.rows(SECOND);
    // And again, since the watched folder no longer exists.
    let third = guests::variant("by=third");
    volume.write("..2026_11_21_15_02_00.3456789123", &third);
    flow.until_running(&["second", "third"], &third);
    flow.rows(&["third"]);
    flow.assert_published(&[&first(), &second(), &third]);
    flow.end();
}

fn folder_made_again(settings: &str) {
    let (place, mut flow) = start("made-again", settings);
    let plugins = place.plugins();
    fs::remove_dir_all(&plugins).expect("the folder is removed");
    let shown = plugins.display().to_string();
    flow.until(FIRST, "the folder is missed", |_| {
        log::warned(&[&shown, "the running plugins keep running"]).then_some(())
    });
    fs::create_dir(&plugins).expect("the folder is made again");
    fs::write(place.file(), second()).expect("and a plugin put into it");
    end_with_second(flow);
}

fn unchanged_bytes(settings: &str) {
    let (place, mut flow) = start("unchanged", settings);
    let file = || OpenOptions::new().write(true).open(place.file()).expect("the file is there");
    let acts: [(&str, &dyn Fn()); 5] = [
        ("touched", &|| file().set_modified(SystemTime::now()).expect("its time is set")),
        ("written again", &|| file().write_all(&first()).expect("it is written")),
        ("cut and written again", &|| fs::write(place.file(), first()).expect("it is written")),
        ("replaced", &|| place.put(&first())),
        ("another mode", &|| fs::set_permissions(place.file(), Permissions::from_mode(0o600)).expect("it is set")),
    ];
    for (n, (act, change)) in acts.into_iter().enumerate() {
        change();
        // Files that become quiet later than the plugin's, and come after it in the folder: when both are refused, the
        // plugin's has been looked at. Two, since a look may have found the first in the middle of the act.
        for late in ["late", "later"] {
            let file = place.plugins().join(format!("z-{n}-{late}.wasm"));
            fs::write(&file, "no plugin").expect("a file is written");
            flow.until_file_refused(FIRST, &file);
        }
        let plugin = flow.stream.plugin();
        assert_eq!((plugin.running.generation, plugin.history.len()), (1, 1), "{act}: {plugin:#?}");
        assert!(plugin.candidate.is_none(), "{act}: {plugin:#?}");
    }
    place.put(&second());
    end_with_second(flow);
}

#[test]
fn a_new_file_is_taken_up() {
    new_file(EVENTS);
}

#[test]
fn a_file_that_is_rewritten_in_pieces_is_taken_up_when_it_is_whole() {
    rewritten_in_place(EVENTS);
}

#[test]
fn a_file_that_is_renamed_over_the_plugin_is_taken_up() {
    renamed_over(EVENTS);
}

#[test]
fn while_a_file_is_deleted_and_created_no_row_passes_unshaped() {
    deleted_and_created(EVENTS);
}

#[test]
fn a_swap_of_kubernetes_data_is_taken_up() {
    kubernetes_swaps_its_data(EVENTS);
}

#[test]
fn a_folder_may_be_removed_and_made_again() {
    folder_made_again(EVENTS);
}

#[test]
fn unchanged_bytes_are_no_new_generation() {
    unchanged_bytes(EVENTS);
}

#[test]
fn on_a_file_system_without_events_all_of_it_is_found_by_looking() {
    new_file(POLL);
    rewritten_in_place(POLL);
    renamed_over(POLL);
    deleted_and_created(POLL);
    kubernetes_swaps_its_data(POLL);
    folder_made_again(POLL);
    unchanged_bytes(POLL);
}
