//! Scans of a real folder with a real watch. The time is injected.

use std::io::Write;
use std::os::unix::fs::symlink;

use super::*;
use crate::config::WatchConfig;
use crate::plugins::watch::Watch;

const EVENT_TIMEOUT: Duration = Duration::from_secs(10);
const MAX: usize = 1000;

struct Bench {
    place: tempfile::TempDir,
    dir: PathBuf,
    watch: Watch,
    folder: Folder,
    now: Instant,
}

/// Runs a scenario with events only, and with polling only.
fn everywhere(scenario: impl Fn(Bench)) {
    let events = WatchConfig { events: true, poll: Duration::from_secs(3600) };
    let poll = WatchConfig { events: false, poll: Duration::from_millis(20) };
    for config in [events, poll] {
        scenario(Bench::new(config, |place| {
            fs::create_dir(place.join("plugins")).unwrap();
        }));
    }
}

impl Bench {
    fn new(config: WatchConfig, make: impl FnOnce(&Path)) -> Self {
        let place = tempfile::tempdir().unwrap();
        make(place.path());
        let dir = place.path().join("plugins");
        let watch = Watch::start(&dir, config);
        watch.due().recv_timeout(EVENT_TIMEOUT).unwrap();
        let folder = Folder::new(dir.clone(), MAX);
        Self { place, dir, watch, folder, now: Instant::now() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn scan_after(&mut self, time: Duration) -> Scan {
        self.now += time;
        self.folder.scan(self.now)
    }

    /// Runs an action, waits for the watch's message, and scans once.
    #[track_caller]
    fn after(&mut self, action: impl FnOnce(&Path)) -> Scan {
        // Drop the messages of earlier actions.
        let quiet = Duration::from_millis(60);
        for _ in 0..20 {
            if self.watch.due().recv_timeout(quiet).is_err() {
                break;
            }
        }
        action(&self.dir);
        assert!(self.watch.due().recv_timeout(EVENT_TIMEOUT).is_ok(), "no message");
        self.scan_after(Duration::from_millis(1))
    }

    /// The same, and scans again until nothing is pending. Returns all changes in short form.
    #[track_caller]
    fn settled(&mut self, action: impl FnOnce(&Path)) -> Vec<String> {
        let mut scan = self.after(action);
        let mut changes = Vec::new();
        for _ in 0..100 {
            changes.extend(scan.changes.iter().map(short));
            let Some(again) = scan.again else { return changes };
            scan = self.scan_after(again);
        }
        panic!("it never settles: {changes:?}");
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).unwrap();
    }
}

fn short(change: &FileChange) -> String {
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    match change {
        FileChange::Put(file) => {
            let hash: String = Sha256::digest(&file.bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(file.hash, hash);
            let signature = file.signature.as_ref().map(|signature| String::from_utf8_lossy(signature).into_owned());
            let signed = signature.map_or(String::new(), |signature| format!(" signed {signature}"));
            format!("{} = {}{signed}", name(&file.path), String::from_utf8_lossy(&file.bytes))
        }
        FileChange::Gone(path) => format!("{} gone", name(path)),
        FileChange::Refused { path, reason } => format!("{} refused: {reason}", name(path)),
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn files_come_change_and_go() {
    everywhere(|mut bench| {
        assert_eq!(bench.settled(|dir| fs::write(dir.join("a.wasm"), "one").unwrap()), ["a.wasm = one"]);
        assert_eq!(bench.settled(|dir| fs::write(dir.join("a.wasm"), "two").unwrap()), ["a.wasm = two"]);
        let both = bench.settled(|dir| {
            fs::write(dir.join("b.wasm"), "three").unwrap();
            fs::write(dir.join(".hidden.wasm"), "no").unwrap();
            fs::write(dir.join("note.txt"), "no").unwrap();
            fs::rename(dir.join("a.wasm"), dir.join("c.wasm")).unwrap();
        });
        assert_eq!(both, ["b.wasm = three", "c.wasm = two", "a.wasm gone"]);
    });
}

#[test]
fn a_start_reads_all_files() {
    let mut bench = Bench::new(WatchConfig::default(), |place| fs::create_dir(place.join("plugins")).unwrap());
    bench.write("a.wasm", "one");
    bench.write("b.wasm", &"x".repeat(MAX + 1));
    let first: Vec<String> = bench.folder.initial_scan().unwrap().iter().map(short).collect();
    assert_eq!(first[0], "a.wasm = one");
    assert!(first[1].contains("larger than 1000 bytes") && first[1].contains("limits.plugin_file"), "{}", first[1]);
    assert!(bench.scan_after(SETTLE).changes.is_empty());
    fs::remove_dir_all(&bench.dir).unwrap();
    assert!(bench.folder.initial_scan().unwrap_err().to_string().contains("plugins.dir"));
}

#[test]
fn pieces_written_in_place_are_never_loaded() {
    everywhere(|mut bench| {
        bench.settled(|dir| fs::write(dir.join("a.wasm"), "the whole of one").unwrap());
        let mut file = None;
        for piece in ["the ", "whole ", "of "] {
            let scan = bench.after(|dir| {
                let file = file.get_or_insert_with(|| File::create(dir.join("a.wasm")).unwrap());
                file.write_all(piece.as_bytes()).unwrap();
            });
            assert_eq!(scan.changes, []);
            // Scanned often, and unchanged for nearly long enough.
            for _ in 0..3 {
                let scan = bench.scan_after(SETTLE * 3 / 10);
                assert_eq!(scan.changes, []);
                assert!(scan.again.is_some());
            }
        }
        let end = bench.settled(|_| file.take().unwrap().write_all(b"two").unwrap());
        assert_eq!(end, ["a.wasm = the whole of two"]);
    });
}

#[test]
fn a_rename_over_it_is_one_change() {
    everywhere(|mut bench| {
        bench.settled(|dir| fs::write(dir.join("a.wasm"), "one").unwrap());
        bench.write(".a.part", "two");
        let changes = bench.settled(|dir| fs::rename(dir.join(".a.part"), dir.join("a.wasm")).unwrap());
        assert_eq!(changes, ["a.wasm = two"]);
    });
}

#[test]
fn a_file_deleted_and_recreated_was_never_gone() {
    everywhere(|mut bench| {
        bench.settled(|dir| fs::write(dir.join("a.wasm"), "one").unwrap());
        for (text, expect) in [("one", &[][..]), ("two", &["a.wasm = two"])] {
            let scan = bench.after(|dir| fs::remove_file(dir.join("a.wasm")).unwrap());
            assert_eq!(scan.changes, []);
            assert_eq!(bench.scan_after(GRACE / 2).changes, []);
            assert_eq!(bench.settled(|dir| fs::write(dir.join("a.wasm"), text).unwrap()), expect);
        }
        assert_eq!(bench.settled(|dir| fs::remove_file(dir.join("a.wasm")).unwrap()), ["a.wasm gone"]);
        assert_eq!(bench.settled(|dir| fs::write(dir.join("a.wasm"), "two").unwrap()), ["a.wasm = two"]);
    });
}

/// A Kubernetes config map: the files are links through `..data`, which is renamed over.
#[test]
fn a_config_map_is_swapped() {
    everywhere(|mut bench| {
        let version = |dir: &Path, number: u32, text: &str| {
            let folder = format!("..2026_{number}");
            fs::create_dir(dir.join(&folder)).unwrap();
            fs::write(dir.join(&folder).join("x.wasm"), text).unwrap();
            symlink(&folder, dir.join("..data_tmp")).unwrap();
            fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
        };
        let first = bench.settled(|dir| {
            version(dir, 1, "one");
            symlink("..data/x.wasm", dir.join("x.wasm")).unwrap();
        });
        assert_eq!(first, ["x.wasm = one"]);
        let swap = |number, text: &'static str| {
            move |dir: &Path| {
                version(dir, number, text);
                fs::remove_dir_all(dir.join(format!("..2026_{}", number - 1))).unwrap();
            }
        };
        assert_eq!(bench.settled(swap(2, "two")), ["x.wasm = two"]);
        assert_eq!(bench.settled(swap(3, "two")), NOTHING);
        assert_eq!(bench.settled(swap(4, "four")), ["x.wasm = four"]);
    });
}

#[test]
fn the_folder_may_be_removed_and_recreated() {
    everywhere(|mut bench| {
        bench.settled(|dir| fs::write(dir.join("a.wasm"), "one").unwrap());
        for text in ["one", "two"] {
            let scan = bench.after(|dir| fs::remove_dir_all(dir).unwrap());
            assert_eq!(scan.changes, []);
            assert!(
                scan.warning.as_deref().is_some_and(|warning| warning.contains("the running plugins keep running")),
                "{scan:?}"
            );
            let scan = bench.scan_after(GRACE * 100);
            assert_eq!((scan.changes.len(), scan.warning), (0, None), "warned once, and nothing is gone");
            let scan = bench.after(|dir| fs::create_dir(dir).unwrap());
            assert_eq!(scan.changes, []);
            assert!(bench.scan_after(GRACE / 2).changes.is_empty());
            let expect: &[&str] = if text == "one" { &[] } else { &["a.wasm = two"] };
            assert_eq!(bench.settled(|dir| fs::write(dir.join("a.wasm"), text).unwrap()), expect);
        }
        bench.after(|dir| fs::remove_dir_all(dir).unwrap());
        assert_eq!(bench.settled(|dir| fs::create_dir(dir).unwrap()), ["a.wasm gone"]);
    });
}

#[test]
fn the_folder_may_be_a_link_that_is_swapped() {
    let poll = WatchConfig { events: false, poll: Duration::from_millis(20) };
    for config in [WatchConfig { events: true, poll: EVENT_TIMEOUT * 100 }, poll] {
        let mut bench = Bench::new(config, |place| {
            for (name, text) in [("one", "1"), ("two", "2")] {
                fs::create_dir(place.join(name)).unwrap();
                fs::write(place.join(name).join("a.wasm"), text).unwrap();
            }
            symlink("one", place.join("plugins")).unwrap();
        });
        bench.folder.initial_scan().unwrap();
        let place = bench.place.path().to_path_buf();
        let swapped = bench.settled(|dir| {
            symlink("two", place.join("next")).unwrap();
            fs::rename(place.join("next"), dir).unwrap();
        });
        assert_eq!(swapped, ["a.wasm = 2"]);
        assert_eq!(bench.settled(|_| fs::write(place.join("two/a.wasm"), "3").unwrap()), ["a.wasm = 3"]);
    }
}

#[test]
fn unchanged_bytes_do_nothing() {
    everywhere(|mut bench| {
        bench.settled(|dir| fs::write(dir.join("a.wasm"), "one").unwrap());
        assert_eq!(bench.settled(|dir| fs::write(dir.join("a.wasm"), "one").unwrap()), NOTHING);
        let touched = bench.settled(|dir| {
            let file = File::options().append(true).open(dir.join("a.wasm")).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        });
        assert_eq!(touched, NOTHING);
    });
}

#[test]
fn changes_without_new_timestamps_are_found() {
    let mut bench = Bench::new(WatchConfig::default(), |place| fs::create_dir(place.join("plugins")).unwrap());
    bench.write("a.wasm", "one");
    bench.folder.initial_scan().unwrap();
    bench.write("a.wasm", "two");
    // As on a file system that does not update its timestamps.
    let path = bench.file("a.wasm");
    bench.folder.entries.get_mut(&path).unwrap().known.as_mut().unwrap().stamp = stamp(&path);
    let scans = (0..REREAD_AFTER_SCANS + 1).map(|_| bench.scan_after(SETTLE)).collect::<Vec<_>>();
    let changes: Vec<String> = scans.iter().flat_map(|scan| scan.changes.iter().map(short)).collect();
    assert_eq!(changes, ["a.wasm = two"]);
    assert!(
        scans[..REREAD_AFTER_SCANS as usize - 1].iter().all(|scan| scan.again.is_none()),
        "not read before its time"
    );
}

#[test]
fn a_signature_belongs_to_its_file() {
    everywhere(|mut bench| {
        let both = bench.settled(|dir| {
            fs::write(dir.join("a.wasm"), "one").unwrap();
            fs::write(dir.join("a.wasm.sig"), "A").unwrap();
        });
        assert_eq!(both, ["a.wasm = one signed A"]);
        assert_eq!(bench.settled(|dir| fs::write(dir.join("a.wasm.sig"), "B").unwrap()), ["a.wasm = one signed B"]);
        let large = "C".repeat(MAX_SIGNATURE + 1);
        assert_eq!(bench.settled(|dir| fs::write(dir.join("a.wasm.sig"), large).unwrap()), ["a.wasm = one"]);
        assert_eq!(bench.settled(|dir| fs::remove_file(dir.join("a.wasm.sig")).unwrap()), NOTHING);
    });
}

#[test]
fn anything_but_a_small_regular_file_is_refused_without_blocking() {
    everywhere(|mut bench| {
        bench.settled(|dir| fs::write(dir.join("a.wasm"), "one").unwrap());
        let refused = bench.settled(|dir| {
            fs::write(dir.join("a.wasm"), "x".repeat(MAX + 1)).unwrap();
            fs::write(dir.join("b.wasm"), "x".repeat(MAX)).unwrap();
            fs::create_dir(dir.join("c.wasm")).unwrap();
            symlink("/dev/zero", dir.join("d.wasm")).unwrap();
            rustix::fs::mknodat(
                rustix::fs::CWD,
                dir.join("e.wasm"),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o600),
                0,
            )
            .unwrap();
            symlink("nowhere", dir.join("f.wasm")).unwrap();
            symlink("g.wasm", dir.join("g.wasm")).unwrap();
        });
        let expect =
            ["larger than 1000 bytes", "b.wasm = x", "a folder", "a device", "a FIFO", "g.wasm", "dangling link"];
        assert_eq!(refused.len(), expect.len(), "{refused:?}");
        for (change, expect) in refused.iter().zip(expect) {
            assert!(change.contains(expect), "{change}");
        }
        // A path that became a regular file is accepted; a refused one is gone once it is removed.
        let fixed = bench.settled(|dir| {
            fs::write(dir.join("a.wasm"), "one").unwrap();
            fs::write(dir.join("nowhere"), "two").unwrap();
            fs::remove_file(dir.join("e.wasm")).unwrap();
        });
        assert_eq!(fixed, ["a.wasm = one", "f.wasm = two", "e.wasm gone"]);
    });
}

#[test]
fn a_file_that_keeps_changing_is_warned_about_and_never_loaded() {
    let mut bench = Bench::new(WatchConfig::default(), |place| fs::create_dir(place.join("plugins")).unwrap());
    let mut file = File::create(bench.file("a.wasm")).unwrap();
    let mut warnings = Vec::new();
    let start = bench.now;
    for _ in 0..200 {
        file.write_all(b"and so on").unwrap();
        let scan = bench.scan_after(SETTLE - Duration::from_millis(1));
        assert_eq!(scan.changes, []);
        if let Some(warning) = scan.warning {
            warnings.push((bench.now - start, warning));
        }
    }
    let [(at, warning)] = &warnings[..] else { panic!("{} warnings", warnings.len()) };
    assert!(*at >= WARN_AFTER && *at < WARN_AFTER + SETTLE * 2, "{at:?}");
    assert!(warning.contains("a.wasm") && warning.contains("rename"), "{warning}");
}
