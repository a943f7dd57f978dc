//! Watches a folder or a file and sends a message whenever it may have changed.
//!
//! The watch subscribes to file system events in the target folder, in the folders that hold the path and every link on the
//! way to it, and in the folders that the links in the target folder point to. That covers a folder that is removed and
//! recreated, a link that is replaced, and Kubernetes, where files are links through a link `..data` that is renamed over.
//! Polling finds what events do not report (network file systems, a renamed ancestor).

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never};
use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::config::WatchConfig;

/// The time to wait for more events after one, so that a burst gives one message.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// The number of links in a folder that are followed. Changes behind further links are found by polling.
const MAX_LINKS: usize = 256;
/// The number of links followed along one path; the same as the system's limit.
const MAX_HOPS: usize = 40;

/// Watches a path until it is dropped.
pub struct Watch {
    due: Receiver<()>,
    /// Keeps the channel open for its receivers.
    _due: Sender<()>,
    _stop: Sender<()>,
}

impl Watch {
    /// Watches a folder or a file, which need not exist yet. The first message follows as soon as the path is watched, so
    /// that no change is lost between an earlier scan and the start of the watch.
    pub fn start(path: &Path, config: WatchConfig) -> Self {
        let (due_sender, due) = bounded(1);
        let (stop, stopped) = bounded::<()>(0);
        let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
        let sender = due_sender.clone();
        let thread = std::thread::Builder::new().name("watch".into());
        if let Err(error) = thread.spawn(move || run(&path, config, &sender, &stopped)) {
            tracing::error!(%error, "cannot start a thread to watch files: changes are not noticed until a restart");
        }
        Self { due, _due: due_sender, _stop: stop }
    }

    /// Receives a message whenever the path may have changed. Several changes may give one message.
    pub fn due(&self) -> &Receiver<()> {
        &self.due
    }
}

fn run(path: &Path, config: WatchConfig, due: &Sender<()>, stopped: &Receiver<()>) {
    let (mut events, changed) = match config.events.then(|| Events::new(path)) {
        Some((events, changed)) => (Some(events), changed),
        None => (None, never()),
    };
    loop {
        // Watch first, then send: a change during the scan that follows gives another event.
        if let Some(events) = &mut events {
            events.renew(path);
        }
        let _ = due.try_send(());
        crossbeam_channel::select! {
            recv(stopped) -> _ => return,
            recv(changed) -> _ => {
                if stopped.recv_timeout(DEBOUNCE).is_err_and(|error| error.is_disconnected()) {
                    return;
                }
                let _ = changed.try_recv();
            }
            default(config.poll) => {}
        }
    }
}

/// A folder in which some names, or all, are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WatchedFolder {
    /// Device and inode: the path may be another folder later.
    identity: (u64, u64),
    /// The watched names; `None` for all.
    names: Option<BTreeSet<OsString>>,
}

type WatchedFolders = BTreeMap<PathBuf, WatchedFolder>;

/// The file system events for one path.
struct Events {
    /// `None` if the system provides no events.
    watcher: Option<RecommendedWatcher>,
    places: Arc<Mutex<WatchedFolders>>,
    is_warned: bool,
}

impl Events {
    fn new(path: &Path) -> (Self, Receiver<()>) {
        let (sender, changed) = bounded(1);
        let places = Arc::new(Mutex::new(WatchedFolders::new()));
        let known = places.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let places = known.lock().unwrap_or_else(PoisonError::into_inner);
            if event.is_ok_and(|event| !concerns(&event, &places)) {
                return;
            }
            let _ = sender.try_send(());
        });
        let mut events = Self { watcher: None, places, is_warned: false };
        match watcher {
            Ok(watcher) => events.watcher = Some(watcher),
            Err(error) => events.warn(path, &error),
        }
        (events, changed)
    }

    /// Watches the folders that the path leads through now.
    fn renew(&mut self, path: &Path) {
        if self.watcher.is_none() {
            return;
        }
        // The folders may change between finding and watching them, so find them once more.
        for _ in 0..4 {
            let wanted = places(path);
            self.apply(path, &wanted);
            if places(path) == wanted {
                return;
            }
        }
    }

    fn apply(&mut self, path: &Path, wanted: &WatchedFolders) {
        let Some(watcher) = &mut self.watcher else { return };
        let before = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *places, wanted.clone())
        };
        for (folder, place) in &before {
            if wanted.get(folder).is_none_or(|now| now.identity != place.identity) {
                // Fails if the folder was removed, and its watch with it.
                let _ = watcher.unwatch(folder);
            }
        }
        let mut failure = None;
        for folder in wanted.keys() {
            // Watch even those that are watched already: a recreated folder may have the same inode, and the watcher drops a
            // path when it handles a late removal event.
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Err(error) if !matches!(error.kind, notify::ErrorKind::PathNotFound) => failure = Some(error),
                _ => {}
            }
        }
        if let Some(error) = failure {
            self.warn(path, &error);
        }
    }

    fn warn(&mut self, path: &Path, error: &notify::Error) {
        if !std::mem::replace(&mut self.is_warned, true) {
            tracing::warn!(%error, path = %path.display(), "cannot watch all files, so some changes are only found by polling; if the system's limit is reached, raise fs.inotify.max_user_watches or max_user_instances");
        }
    }
}

/// Returns true if an event may be a change of a watched name. Reads are not: every scan reads.
fn concerns(event: &notify::Event, places: &WatchedFolders) -> bool {
    match event.kind {
        // The only event for writes through a memory mapping.
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        EventKind::Access(_) => return false,
        _ => {}
    }
    event.paths.is_empty()
        || event.need_rescan()
        || event.paths.iter().any(|path| {
            let is_named = |folder: &Path| {
                places.get(folder).is_some_and(|place| match (&place.names, path.file_name()) {
                    (Some(names), Some(name)) => names.contains(name),
                    _ => true,
                })
            };
            places.contains_key(path) || path.parent().is_some_and(is_named)
        })
}

/// The folders whose events can mean a change of the path.
fn places(path: &Path) -> WatchedFolders {
    let mut places = WatchedFolders::new();
    if let Some(folder) = follow(path, &mut places)
        && let Ok(entries) = fs::read_dir(&folder)
    {
        add(&mut places, &folder, None);
        let is_link = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_symlink());
        for entry in entries.flatten().filter(is_link).take(MAX_LINKS) {
            follow(&folder.join(entry.file_name()), &mut places);
        }
    }
    places
}

/// Resolves a path; `None` if it does not exist. Adds the folders of every link on the way, and the folder of the target.
fn follow(path: &Path, places: &mut WatchedFolders) -> Option<PathBuf> {
    let names = |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
    let mut at = PathBuf::from("/");
    let mut rest = names(path);
    let mut hops = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        // An absolute link target starts from the root again: `join` with `/` is `/`.
        let next = at.join(&name);
        if name == "." || name == "/" {
            at = next;
            continue;
        }
        let Ok(found) = fs::symlink_metadata(&next) else {
            add(places, &at, Some(name));
            return None;
        };
        if found.is_symlink() {
            add(places, &at, Some(name));
            hops += 1;
            if hops > MAX_HOPS {
                return None;
            }
            rest.extend(names(&fs::read_link(&next).ok()?));
            continue;
        }
        if rest.is_empty() {
            add(places, &at, Some(name));
        }
        at = next;
    }
    Some(at)
}

fn add(places: &mut WatchedFolders, folder: &Path, name: Option<OsString>) {
    let Ok(found) = fs::metadata(folder) else { return };
    let place = places
        .entry(folder.into())
        .or_insert_with(|| WatchedFolder { identity: (found.dev(), found.ino()), names: Some(BTreeSet::new()) });
    match (name, &mut place.names) {
        (None, names) => *names = None,
        (Some(name), Some(names)) => {
            names.insert(name);
        }
        (Some(_), None) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const EVENTS: WatchConfig = WatchConfig { events: true, poll: Duration::from_secs(3600) };
    const EVENT_TIMEOUT: Duration = Duration::from_secs(10);
    /// The time after which a test concludes that no event follows.
    const QUIET: Duration = Duration::from_millis(200);

    /// Discards the messages of earlier changes.
    fn drain(watch: &Watch) {
        while watch.due().recv_timeout(QUIET).is_ok() {}
    }

    #[track_caller]
    fn is_due(watch: &Watch, what: &str) {
        assert!(watch.due().recv_timeout(EVENT_TIMEOUT).is_ok(), "no event: {what}");
        drain(watch);
    }

    #[test]
    fn a_file_may_appear_disappear_and_be_replaced() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("rowmill.toml");
        let watch = Watch::start(&file, EVENTS);
        is_due(&watch, "the start");
        fs::write(&file, "a").unwrap();
        is_due(&watch, "created");
        fs::write(&file, "b").unwrap();
        is_due(&watch, "written");
        fs::write(place.path().join(".new"), "c").unwrap();
        assert!(watch.due().recv_timeout(QUIET).is_err(), "another file in the folder is not a change");
        fs::rename(place.path().join(".new"), &file).unwrap();
        is_due(&watch, "replaced");
        fs::read(&file).unwrap();
        assert!(watch.due().recv_timeout(QUIET).is_err(), "a read is not a change");
        fs::remove_file(&file).unwrap();
        is_due(&watch, "removed");
    }

    #[test]
    fn a_folder_may_be_created_late_and_recreated() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/plugins");
        let watch = Watch::start(&folder, EVENTS);
        is_due(&watch, "the start");
        for _ in 0..3 {
            fs::create_dir(place.path().join("a")).unwrap();
            is_due(&watch, "the parent is created");
            fs::create_dir(&folder).unwrap();
            is_due(&watch, "created");
            fs::write(folder.join("x.wasm"), "a").unwrap();
            is_due(&watch, "a file in it");
            fs::remove_dir_all(place.path().join("a")).unwrap();
            is_due(&watch, "removed");
        }
    }

    #[test]
    fn link_targets_are_watched() {
        let place = tempfile::tempdir().unwrap();
        let (one, two, store) = (place.path().join("one"), place.path().join("two"), place.path().join("store"));
        for folder in [&one, &two, &store] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(store.join("y.wasm"), "a").unwrap();
        symlink(store.join("y.wasm"), two.join("x.wasm")).unwrap();
        let link = place.path().join("plugins");
        symlink("one", &link).unwrap();
        let watch = Watch::start(&link, EVENTS);
        is_due(&watch, "the start");
        fs::write(one.join("x.wasm"), "a").unwrap();
        is_due(&watch, "in the folder that the link leads to");
        symlink("two", place.path().join("next")).unwrap();
        fs::rename(place.path().join("next"), &link).unwrap();
        is_due(&watch, "the link is swapped");
        fs::write(one.join("x.wasm"), "b").unwrap();
        assert!(watch.due().recv_timeout(QUIET).is_err(), "the previous folder is no longer watched");
        fs::write(store.join("y.wasm"), "b").unwrap();
        is_due(&watch, "in the file that a link in the folder leads to");
    }

    #[test]
    fn circular_links_end() {
        let place = tempfile::tempdir().unwrap();
        symlink("b", place.path().join("a")).unwrap();
        symlink("a", place.path().join("b")).unwrap();
        assert_eq!(follow(&place.path().join("a"), &mut WatchedFolders::new()), None);
        let watch = Watch::start(&place.path().join("a"), EVENTS);
        is_due(&watch, "the start");
        fs::remove_file(place.path().join("a")).unwrap();
        is_due(&watch, "the circle is broken");
    }

    #[test]
    fn without_events_it_is_polled() {
        let config = WatchConfig { events: false, poll: Duration::from_millis(5) };
        let watch = Watch::start(Path::new("nowhere/at/all"), config);
        for _ in 0..5 {
            watch.due().recv_timeout(EVENT_TIMEOUT).unwrap();
        }
        // The thread ends when the watch is dropped, and with it the last sender.
        let due = watch.due().clone();
        drop(watch);
        let end = loop {
            if let Err(end) = due.recv_timeout(EVENT_TIMEOUT) {
                break end;
            }
        };
        assert!(end.is_disconnected(), "the thread still runs");
    }
}
