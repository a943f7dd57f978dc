//! A file of dead letters after a crash, with links, and over its size.

use std::os::unix::fs::PermissionsExt;

use super::*;

const LETTER: &str = "{\"error\":{\"stage\":\"sink\"},\"value\":null}";

fn file_with(content: &str) -> (tempfile::TempDir, LetterFile) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters");
    std::fs::write(&path, content).unwrap();
    (folder, LetterFile::new(&path, None))
}

#[track_caller]
fn check(before: &str, after: &str) {
    let (_folder, file) = file_with(before);
    file.append(b"new\n").unwrap();
    assert_eq!(std::fs::read_to_string(file.path()).unwrap(), format!("{after}new\n"), "{before:?}");
}

#[test]
fn a_partial_last_line_is_repaired() {
    check("", "");
    check(&format!("{LETTER}\n"), &format!("{LETTER}\n"));
    // Only the line break is missing.
    check(LETTER, &format!("{LETTER}\n"));
    for torn in 1..LETTER.len() {
        check(&LETTER[..torn], "");
        check(&format!("{LETTER}\n{}", &LETTER[..torn]), &format!("{LETTER}\n"));
    }
    // A line longer than what is read at a time.
    let long = format!("{{\"error\":\"{}", "x".repeat(3 * STEP as usize));
    check(&format!("{LETTER}\n{long}"), &format!("{LETTER}\n"));
    // It is not a letter, so it stays, whatever it is.
    check("my notes", "my notes\n");
    check("{\"a\":1}\n{\"b\":", "{\"a\":1}\n{\"b\":\n");
}

#[test]
fn a_new_file_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let file = LetterFile::new(&folder.path().join("letters"), None);
    file.append(b"new\n").unwrap();
    let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_link_is_not_followed() {
    let (folder, target) = file_with("untouched\n");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(target.path(), &link).unwrap();
    let file = LetterFile::new(&link, None);
    let message = format!("{:#}", file.append(b"new\n").unwrap_err());
    assert!(message.contains("symbolic link") && message.contains("dead_letter.path"), "{message}");
    assert!(file.can_append().unwrap_err().contains("symbolic link"));
    assert_eq!(std::fs::read_to_string(target.path()).unwrap(), "untouched\n");
}

#[test]
fn a_file_is_rotated_before_it_passes_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters");
    let file = LetterFile::new(&path, Some(10));
    // A rotated file may have been moved away or compressed; its number is not used again while a later one exists.
    std::fs::write(folder.path().join("letters.7"), "old\n").unwrap();
    std::fs::write(folder.path().join("letters.replayed"), "").unwrap();
    for line in ["12345\n", "678\n", "9\n", "longer than a file may be\n"] {
        file.append(line.as_bytes()).unwrap();
    }
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    let rotated: Vec<_> = rotated(&path).unwrap().iter().map(|(number, path)| (*number, read(path))).collect();
    let wanted = [(7, "old\n"), (8, "12345\n678\n"), (9, "9\n")].map(|(number, text)| (number, text.to_string()));
    assert_eq!(rotated, wanted);
    assert_eq!(read(&path), "longer than a file may be\n");
}

/// Two gateways may share a file: no line is torn, lost or cut off by the other's repair.
#[test]
fn two_writers_tear_no_line() {
    const LINES: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters");
    let line = |writer: usize| format!("{{\"error\":\"{}\"}}\n", writer.to_string().repeat(5000));
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let file = LetterFile::new(&path, Some(100_000));
            scope.spawn(move || (0..LINES).for_each(|_| file.append(line(writer).as_bytes()).unwrap()));
        }
    });
    let files = rotated(&path).unwrap().into_iter().map(|(_, path)| path).chain([path.clone()]);
    let text: String = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    for writer in 0..2 {
        assert_eq!(text.lines().filter(|found| *found == line(writer).trim_end()).count(), LINES);
    }
    assert_eq!(text.lines().count(), 2 * LINES);
}
