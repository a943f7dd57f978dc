//! When to look: a message whenever a folder or a file may have changed.
//!
//! The file system's events are asked for where the path leads, where it and every link on the way have their names, and
//! where the links in a folder lead. That covers a folder that is removed and made again, a link that is swapped, and
//! Kubernetes, where files are links through a link `..data` that is renamed over. What events do not tell (network
//! file systems, an ancestor that is renamed) the poll finds.

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

/// How long more events are waited for after one, so that a burst is one look.
const GATHER: Duration = Duration::from_millis(20);
/// Links of a folder that are followed. More are found by the poll alone.
const MAX_LINKS: usize = 256;
/// Links on the way of one path; the system's own limit.
const MAX_HOPS: usize = 40;

/// Tells when to look at a path, until it is dropped.
pub struct Watch {
    due: Receiver<()>,
    /// Kept, so that a receiver never sees a closed channel.
    _due: Sender<()>,
    _stop: Sender<()>,
}

impl Watch {
    /// Watches a folder or a file, which need not exist yet. The first message comes as soon as it is watched, so that
    /// nothing is lost between a look and the watching.
    pub fn start(path: &Path, config: WatchConfig) -> Self {
        let (due_sender, due) = bounded(1);
        let (stop, stopped) = bounded::<()>(0);
        let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
        let sender = due_sender.clone();
        let thread = std::thread::Builder::new().name("watch".into());
        if let Err(error) = thread.spawn(move || run(&path, config, &sender, &stopped)) {
            tracing::error!(%error, "no thread to watch with: changes are not seen until a restart");
        }
        Self { due, _due: due_sender, _stop: stop }
    }

    /// Where a message comes whenever the path may have changed. Several changes may be one message.
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
        // Watched before it is told, so that a change after the look that follows is an event.
        if let Some(events) = &mut events {
            events.renew(path);
        }
        let _ = due.try_send(());
        crossbeam_channel::select! {
            recv(stopped) -> _ => return,
            recv(changed) -> _ => {
                if stopped.recv_timeout(GATHER).is_err_and(|error| error.is_disconnected()) {
                    return;
                }
                let _ = changed.try_recv();
            }
            default(config.poll) => {}
        }
    }
}

/// A folder in which names are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// Device and inode: the same path may be another folder later.
    identity: (u64, u64),
    /// The names that matter; `None` for all.
    names: Option<BTreeSet<OsString>>,
}

type Places = BTreeMap<PathBuf, Place>;

/// The file system's events of one path.
struct Events {
    /// `None` where there are none to be had.
    watcher: Option<RecommendedWatcher>,
    places: Arc<Mutex<Places>>,
    is_trouble_told: bool,
}

impl Events {
    fn new(path: &Path) -> (Self, Receiver<()>) {
        let (sender, changed) = bounded(1);
        let places = Arc::new(Mutex::new(Places::new()));
        let known = places.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let places = known.lock().unwrap_or_else(PoisonError::into_inner);
            if event.is_ok_and(|event| !concerns(&event, &places)) {
                return;
            }
            let _ = sender.try_send(());
        });
        let mut events = Self { watcher: None, places, is_trouble_told: false };
        match watcher {
            Ok(watcher) => events.watcher = Some(watcher),
            Err(error) => events.tell(path, &error),
        }
        (events, changed)
    }

    /// Watches what the path leads over now.
    fn renew(&mut self, path: &Path) {
        if self.watcher.is_none() {
            return;
        }
        // What changed between finding the places and watching them is found by finding them once more.
        for _ in 0..4 {
            let wanted = places(path);
            self.take_over(path, &wanted);
            if places(path) == wanted {
                return;
            }
        }
    }

    fn take_over(&mut self, path: &Path, wanted: &Places) {
        let Some(watcher) = &mut self.watcher else { return };
        let before = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *places, wanted.clone())
        };
        for (folder, place) in &before {
            if wanted.get(folder).is_none_or(|now| now.identity != place.identity) {
                // It may be gone, and its watch with it.
                let _ = watcher.unwatch(folder);
            }
        }
        let mut trouble = None;
        for folder in wanted.keys() {
            // Also those that are watched already: a folder that was made again may have the inode of the one before,
            // and the watcher forgets a path whose removal it hears of late.
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Err(error) if !matches!(error.kind, notify::ErrorKind::PathNotFound) => trouble = Some(error),
                _ => {}
            }
        }
        if let Some(error) = trouble {
            self.tell(path, &error);
        }
    }

    fn tell(&mut self, path: &Path, error: &notify::Error) {
        if !std::mem::replace(&mut self.is_trouble_told, true) {
            tracing::warn!(%error, path = %path.display(), "not all file events can be had, so changes are found by the poll; where the limit of watches is reached, raise fs.inotify.max_user_watches or max_user_instances");
        }
    }
}

/// Whether an event may be a change. Reads are none: who looks reads.
fn concerns(event: &notify::Event, places: &Places) -> bool {
    match event.kind {
        // What is written through a mapping of memory is told by this alone.
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

/// The folders whose events tell of a change of the path.
fn places(path: &Path) -> Places {
    let mut places = Places::new();
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

/// Where a path leads, without links; `None` if nowhere. Adds the places of every link on the way, and that of the end.
fn follow(path: &Path, places: &mut Places) -> Option<PathBuf> {
    let names = |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
    let mut at = PathBuf::from("/");
    let mut rest = names(path);
    let mut hops = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        // An absolute path begins anew here: `join` with `/` is `/`.
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

fn add(places: &mut Places, folder: &Path, name: Option<OsString>) {
    let Ok(found) = fs::metadata(folder) else { return };
    let place = places
        .entry(folder.into())
        .or_insert_with(|| Place { identity: (found.dev(), found.ino()), names: Some(BTreeSet::new()) });
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
    const SOON: Duration = Duration::from_secs(10);
    /// Longer than any event takes, as the tests of what does not happen see it.
    const QUIET: Duration = Duration::from_millis(200);

    /// Takes what earlier changes gave.
    fn drain(watch: &Watch) {
        while watch.due().recv_timeout(QUIET).is_ok() {}
    }

    #[track_caller]
    fn is_due(watch: &Watch, what: &str) {
        assert!(watch.due().recv_timeout(SOON).is_ok(), "no event: {what}");
        drain(watch);
    }

    #[test]
    fn a_file_may_come_go_and_be_replaced() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("rowmill.toml");
        let watch = Watch::start(&file, EVENTS);
        is_due(&watch, "the start");
        fs::write(&file, "a").unwrap();
        is_due(&watch, "made");
        fs::write(&file, "b").unwrap();
        is_due(&watch, "written");
        fs::write(place.path().join(".new"), "c").unwrap();
        assert!(watch.due().recv_timeout(QUIET).is_err(), "a neighbour is no change");
        fs::rename(place.path().join(".new"), &file).unwrap();
        is_due(&watch, "replaced");
        fs::read(&file).unwrap();
        assert!(watch.due().recv_timeout(QUIET).is_err(), "a read is no change");
        fs::remove_file(&file).unwrap();
        is_due(&watch, "removed");
    }

    #[test]
    fn a_folder_may_be_made_late_and_again() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/plugins");
        let watch = Watch::start(&folder, EVENTS);
        is_due(&watch, "the start");
        for _ in 0..3 {
            fs::create_dir(place.path().join("a")).unwrap();
            is_due(&watch, "the parent made");
            fs::create_dir(&folder).unwrap();
            is_due(&watch, "made");
            fs::write(folder.join("x.wasm"), "a").unwrap();
            is_due(&watch, "a file in it");
            fs::remove_dir_all(place.path().join("a")).unwrap();
            is_due(&watch, "removed");
        }
    }

    #[test]
    fn where_links_lead_is_watched() {
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
        assert!(watch.due().recv_timeout(QUIET).is_err(), "the folder of before is no longer watched");
        fs::write(store.join("y.wasm"), "b").unwrap();
        is_due(&watch, "in the file that a link in the folder leads to");
    }

    #[test]
    fn links_in_a_circle_end() {
        let place = tempfile::tempdir().unwrap();
        symlink("b", place.path().join("a")).unwrap();
        symlink("a", place.path().join("b")).unwrap();
        assert_eq!(follow(&place.path().join("a"), &mut Places::new()), None);
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
            watch.due().recv_timeout(SOON).unwrap();
        }
        // The thread ends with it: nothing holds its sender then.
        let due = watch.due().clone();
        drop(watch);
        let end = loop {
            if let Err(end) = due.recv_timeout(SOON) {
                break end;
            }
        };
        assert!(end.is_disconnected(), "the thread still runs");
    }
}
