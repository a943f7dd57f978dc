//! Changes of the file, applied to a thread that answers like the owner of the plugins.

use std::fs;
use std::sync::Mutex;

use super::*;
use crate::config::read_text;
use crate::plugins::control::Request;

const TEXT: &str = "[source]\nkind = \"file\"\npath = \"x\"\n[sink]\nkind = \"embedded\"\n";
const SOON: Duration = Duration::from_secs(10);

/// The requests to the owner of the plugins: the settings of `a`, and the index of the first route.
type Asked = Arc<Mutex<Vec<(Option<String>, Option<String>)>>>;

struct Bench {
    folder: tempfile::TempDir,
    follower: Follower,
    now: Instant,
    asked: Asked,
}

impl Bench {
    /// An owner that refuses settings that contain `bad`.
    fn new() -> Self {
        let (control, requests) = Control::channel();
        let asked = Asked::default();
        let seen = asked.clone();
        std::thread::spawn(move || {
            for request in requests {
                let Request::Configure(new, answer) = request else { panic!("{request:?}") };
                let settings = new.0.settings.get("a").cloned();
                let index = new.1.first().and_then(|route| route.index.clone());
                let is_refused = settings.as_deref().is_some_and(|settings| settings.contains("bad"));
                seen.lock().unwrap().push((settings, index));
                let _ = answer.send(if is_refused { Err("a refuses its settings".into()) } else { Ok(vec![]) });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let origin = Origin { file: folder.path().join("rowmill.toml"), overrides: Overrides::default() };
        fs::write(&origin.file, TEXT).unwrap();
        let running = read_text(TEXT, "rowmill.toml", &Overrides::default()).unwrap();
        let live = Live {
            control,
            bulk: watch::Sender::new(running.sink.bulk()),
            metrics: Metrics::new(),
            shutdown: Shutdown::default(),
        };
        let follower = Follower::new(origin, running, live);
        Self { folder, follower, now: Instant::now(), asked }
    }

    /// Writes the file, and reads it until it has settled.
    fn write(&mut self, text: &str) {
        fs::write(&self.follower.origin.file, text).unwrap();
        while let Some(again) = self.follower.look(self.now) {
            self.now += again;
        }
    }

    fn asked(&self) -> Vec<(Option<String>, Option<String>)> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// The number of changes that were applied and refused.
    fn counted(&self) -> (u64, u64) {
        let of =
            |kind: &str| self.follower.live.metrics.config_changes.get_or_create(&Kind { kind: kind.into() }).get();
        (of("applied"), of("refused"))
    }

    fn bulk(&self) -> BulkConfig {
        *self.follower.live.bulk.borrow()
    }
}

#[test]
fn a_change_goes_to_the_parts_that_it_affects() {
    let mut bench = Bench::new();
    bench.write(TEXT);
    assert_eq!((bench.asked(), bench.counted()), (vec![], (0, 0)), "the initial configuration is not a change");
    bench.write(&format!("{TEXT}bulk_documents = 7\n"));
    assert_eq!((bench.bulk().documents, bench.asked()), (7, vec![]), "plugins are not asked");
    bench.write(&format!(
        "{TEXT}bulk_documents = 7\n[plugins.settings.a]\nx = 1\n[[routes]]\ntable = \"t\"\nindex = \"i\"\n"
    ));
    assert_eq!(bench.asked(), [(Some("{\"x\":1}".into()), Some("i".into()))]);
    assert_eq!(bench.counted(), (2, 0));
    bench.write(TEXT);
    assert_eq!(bench.asked(), [(None, None)]);
    assert_eq!(bench.bulk(), BulkConfig::default());
}

#[test]
fn a_change_is_applied_completely_or_not_at_all() {
    let mut bench = Bench::new();
    for bad in [
        // Not a configuration.
        format!("{TEXT}lingr = \"1s\"\nbulk_documents = 7\n"),
        "[source".into(),
        "\u{0}".into(),
        // Refused by a plugin.
        format!("{TEXT}bulk_documents = 7\n[plugins.settings.a]\nx = \"bad\"\n"),
        // Needs a restart.
        format!("{TEXT}bulk_documents = 7\n[plugins.settings.a]\nx = 1\n[limits]\nplugin_file = 5\n"),
    ] {
        bench.write(&bad);
    }
    assert_eq!(bench.counted(), (0, 5));
    assert_eq!(bench.asked(), [(Some("{\"x\":\"bad\"}".into()), None)]);
    assert_eq!(bench.bulk(), BulkConfig::default());
    let started = read_text(TEXT, "rowmill.toml", &Overrides::default()).unwrap();
    assert!(bench.follower.running == started);
    // The next valid one is applied, however many were refused before.
    bench.write(&format!("{TEXT}bulk_documents = 8\n"));
    assert_eq!((bench.bulk().documents, bench.counted()), (8, (1, 5)));
}

#[test]
fn a_refusal_names_each_key_that_needs_a_restart() {
    let bench = Bench::new();
    let text = format!("{TEXT}linger = \"1ms\"\n[limits]\nplugin_file = 5\n[pipeline]\nworkers = 77\n");
    let new = read_text(&text, "rowmill.toml", &Overrides::default()).unwrap();
    let mut running = bench.follower.running.clone();
    let reason = apply(&mut running, new, &bench.follower.live).unwrap_err();
    assert!(reason.contains("a change of limits.plugin_file, pipeline.workers needs a restart"), "{reason}");
    assert!(reason.contains("(sink.linger could be applied without it)"), "{reason}");
}

#[test]
fn a_record_overrides_the_file() {
    let mut bench = Bench::new();
    bench.follower.topic = "settings".into();
    let record =
        |offset, text: Option<&[u8]>| PushedRecord { offset, timestamp: None, value: text.map(<[u8]>::to_vec) };
    bench.follower.receive(record(1, Some(b"[sink]\nbulk_documents = 7\n")));
    assert_eq!(bench.counted(), (0, 0), "the file has not settled yet");
    bench.write(TEXT);
    assert_eq!((bench.bulk().documents, bench.counted()), (7, (1, 0)));
    bench.write(&format!("{TEXT}bulk_documents = 5\nin_flight = 9\n"));
    assert_eq!((bench.bulk().documents, bench.bulk().in_flight), (7, 9), "the record overrides the file");
    for (offset, bad) in
        [&b"[sink]\nbulk_documents = 0\nin_flight = 8\n"[..], b"[pipeline]\nworkers = 3\n", b"\xff"].iter().enumerate()
    {
        bench.follower.receive(record(2 + offset as i64, Some(bad)));
        let reason = bench.follower.read().unwrap_err();
        assert!(reason.contains(&format!("offset {} of partition 0 of the topic settings", 2 + offset)), "{reason}");
    }
    assert_eq!((bench.bulk().documents, bench.bulk().in_flight, bench.counted()), (7, 9, (2, 3)));
    bench.follower.receive(record(5, None));
    assert_eq!((bench.bulk().documents, bench.bulk().in_flight), (5, 9), "the file alone applies again");
}

#[test]
fn a_half_written_or_missing_file_changes_nothing() {
    let mut bench = Bench::new();
    bench.write(TEXT);
    let whole = format!("{TEXT}bulk_documents = 7\n[pipeline]\n");
    for end in [10, TEXT.len(), TEXT.len() + 18] {
        fs::write(&bench.follower.origin.file, &whole[..end]).unwrap();
        assert!(end == TEXT.len() || bench.follower.look(bench.now).is_some());
        bench.now += SETTLE / 2;
    }
    fs::remove_file(&bench.follower.origin.file).unwrap();
    assert_eq!(bench.follower.look(bench.now), None);
    assert!(bench.follower.is_missing);
    bench.now += SETTLE;
    fs::write(&bench.follower.origin.file, &whole).unwrap();
    assert_eq!(bench.follower.look(bench.now), Some(SETTLE), "readings from before it was missing do not count");
    assert_eq!(bench.counted(), (0, 0));
    bench.write(&whole);
    assert_eq!(bench.counted(), (1, 0));
}

#[test]
fn the_file_is_watched_until_the_end() {
    let Bench { folder, follower, .. } = Bench::new();
    let mut bulk = follower.live.bulk.subscribe();
    let Follower { origin, running, live, .. } = follower;
    let reload = Reload::start(origin.clone(), running, live, None).unwrap();
    // As editors do: written beside it, and renamed over it.
    fs::write(folder.path().join(".new"), format!("{TEXT}bulk_documents = 7\n")).unwrap();
    fs::rename(folder.path().join(".new"), &origin.file).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let changed = async { tokio::time::timeout(SOON, bulk.wait_for(|bulk| bulk.documents == 7)).await.is_ok() };
    assert!(runtime.block_on(changed));
    drop(reload);
    // The thread held the sender.
    let ended = async { tokio::time::timeout(SOON, async { while bulk.changed().await.is_ok() {} }).await.is_ok() };
    assert!(runtime.block_on(ended));
}
