//! Letters that are read back: which are selected, and what they are known by.

use super::*;

fn letter(error: &[(&str, &str)]) -> StoredLetter {
    let error = error.iter().map(|(name, value)| ((*name).to_string(), (*value).to_string())).collect();
    let record = CapturedRecord {
        topic: "t".into(),
        partition: 0,
        offset: 7,
        timestamp: 0,
        headers: Vec::new(),
        key: None,
        value: Some(b"{\"id\":1}".to_vec()),
        error,
    };
    StoredLetter::new(record, "letters:1".into())
}

#[test]
fn conditions() {
    let letter = letter(&[("reason", "a = b"), ("stage", "sink"), ("id", "17")]);
    for (condition, is_true) in [
        ("reason~= b", true),
        ("reason=a = b", true),
        ("reason=a", false),
        ("reason!~x", true),
        ("id!=17", false),
        ("id=17", true),
        ("plugin=", true),
        ("value~\"id\":1", true),
    ] {
        let filter = LetterFilter { conditions: vec![condition.parse().unwrap()], ..LetterFilter::default() };
        assert_eq!(filter.selects(&letter), is_true, "{condition}");
    }
    for wrong in ["reason", "~x", "raeson~x", ""] {
        assert!(wrong.parse::<Condition>().is_err(), "{wrong}");
    }
}

#[test]
fn filters() {
    let letter = letter(&[("stage", "plugin"), ("table", "shop.orders"), ("time", "2026-11-25T10:00:00Z")]);
    let pattern = |text: &str| Some(rowmill_sandbox::Pattern::new(text));
    let since = |text: &str| Some(text.parse().unwrap());
    let all = LetterFilter::default();
    for (filter, selects) in [
        (all.clone(), true),
        (LetterFilter { stage: Some("plugin".into()), ..all.clone() }, true),
        (LetterFilter { stage: Some("sink".into()), ..all.clone() }, false),
        (LetterFilter { table: pattern("orders"), ..all.clone() }, true),
        (LetterFilter { table: pattern("shop.*"), ..all.clone() }, true),
        (LetterFilter { table: pattern("shop.order"), ..all.clone() }, false),
        (LetterFilter { plugin: pattern("x"), ..all.clone() }, false),
        (LetterFilter { since: since("2026-11-25T10:00:00Z"), ..all.clone() }, true),
        (LetterFilter { since: since("2026-11-25T10:00:01Z"), ..all.clone() }, false),
        (LetterFilter { id: Some(letter.id.to_string()[..8].to_uppercase()), ..all.clone() }, true),
        (LetterFilter { id: Some("zz".into()), ..all.clone() }, false),
    ] {
        assert_eq!(filter.selects(&letter), selects, "{filter:?}");
    }
}

#[test]
fn a_letter_is_known_by_its_content() {
    let one = letter(&[("stage", "plugin"), ("time", "2026-11-25T10:00:00Z")]);
    assert_eq!(StoredLetter::new(one.record.clone(), "elsewhere:5".into()).id, one.id, "not by its place");
    assert_eq!(one.id.to_string().parse(), Ok(one.id));
    // The same record, rejected a second time later.
    assert_ne!(letter(&[("stage", "plugin"), ("time", "2026-11-25T10:00:01Z")]).id, one.id);
    let mut tombstone = one.clone();
    tombstone.record.value = None;
    let mut empty = one.clone();
    empty.record.value = Some(Vec::new());
    assert_ne!(id_of(&tombstone.record), id_of(&empty.record));
}

#[test]
fn second_failures_have_their_own_file() {
    let again = |path: &str| again_path(Path::new(path)).display().to_string();
    assert_eq!(again("a/letters"), "a/letters.again-1");
    assert_eq!(again("a/letters.again-1"), "a/letters.again-2");
    assert_eq!(again("a/letters.again-x"), "a/letters.again-x.again-1");
}

#[test]
fn replayed_letters_are_remembered_after_a_crash_in_the_middle_of_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let store = LetterStore::file(&folder.path().join("letters"));
    assert!(store.replayed().read().unwrap().is_empty());
    let ids: Vec<LetterId> = (1..4).map(LetterId).collect();
    store.replayed().reserve().unwrap().add(ids[..2].iter().copied()).unwrap();
    let path = folder.path().join("letters.replayed");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 40]).unwrap();
    store.replayed().reserve().unwrap().add(ids[2..].iter().copied()).unwrap();
    assert_eq!(store.replayed().read().unwrap(), [ids[0], ids[2]].into());
}

#[test]
fn one_replay_at_a_time_notes_letters() {
    let folder = tempfile::tempdir().unwrap();
    let store = LetterStore::file(&folder.path().join("not-there-yet/letters"));
    let mut notes = store.replayed().reserve().unwrap();
    let refused = store.replayed().reserve().unwrap_err().to_string();
    assert!(refused.contains("another replay"), "{refused}");
    notes.add([LetterId(1)].into_iter()).unwrap();
    drop(notes);
    assert_eq!(store.replayed().read().unwrap(), [LetterId(1)].into());
    store.replayed().reserve().unwrap();
}
