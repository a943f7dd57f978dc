//! Files that are made to do harm before they run: to whoever compiles them, and to whoever starts them.
//!
//! They are made of a real guest, so that everything about them is in order that is checked before.

const TYPE: u8 = 1;
const IMPORT: u8 = 2;
const FUNCTION: u8 = 3;
const START: u8 = 8;
const CODE: u8 = 10;
const FUNCTION_TYPE: u8 = 0x60;
const VOID: u8 = 0x40;
const I32: u8 = 0x7f;

/// A core module with a function whose compilation takes minutes and gigabytes, though it adds a few kilobytes: loops in
/// loops, in the innermost of which every local changes, so that each loop has to carry all of them.
///
/// # Panics
/// The guest is no core module with types, imports, functions and code.
pub fn compile_bomb(guest: &[u8]) -> Vec<u8> {
    const LOOPS: usize = 1000;
    const LOCALS: usize = 2000;
    let mut body = Vec::new();
    number(&mut body, 1);
    number(&mut body, LOCALS);
    body.push(I32);
    for _ in 0..LOOPS {
        body.extend([0x03, VOID]); // loop
    }
    for local in 0..LOCALS {
        local_get(&mut body, local);
        local_get(&mut body, (local + 1) % LOCALS);
        body.push(0x6a); // i32.add
        body.push(0x21); // local.set
        number(&mut body, local);
    }
    for _ in 0..LOOPS {
        local_get(&mut body, 0);
        body.extend([0x0d, 0, 0x0b]); // br_if 0, end
    }
    body.push(0x0b); // end
    with_function(guest, &body, false)
}

/// A core module whose start function never ends.
///
/// # Panics
/// As [`compile_bomb`].
pub fn hanging_start(guest: &[u8]) -> Vec<u8> {
    // No locals; loop, br 0, end; end.
    with_function(guest, &[0, 0x03, VOID, 0x0c, 0, 0x0b, 0x0b], true)
}

fn local_get(body: &mut Vec<u8>, local: usize) {
    body.push(0x20);
    number(body, local);
}

/// The module with one more function, without parameters and results, which may be its start function.
fn with_function(module: &[u8], body: &[u8], is_start: bool) -> Vec<u8> {
    let sections = sections(module);
    let count = |id: u8| sections.iter().find(|section| section.0 == id).map_or(0, |section| read(section.1).0);
    assert!(count(TYPE) > 0 && count(FUNCTION) > 0 && count(CODE) > 0, "a guest has functions");
    // Guests import functions alone.
    let index = count(IMPORT) + count(FUNCTION);
    let mut entry = Vec::new();
    number(&mut entry, body.len());
    entry.extend_from_slice(body);
    let mut type_index = Vec::new();
    number(&mut type_index, count(TYPE));

    let mut bytes = module[..8].to_vec();
    let mut started = false;
    for (id, content) in sections {
        // The start section's place is after the exports: before elements, the count of data, and code.
        if is_start && !started && matches!(id, 9 | 10 | 12) {
            let mut start = Vec::new();
            number(&mut start, index);
            section(&mut bytes, START, &start);
            started = true;
        }
        match id {
            TYPE => section(&mut bytes, id, &with_one_more(content, &[FUNCTION_TYPE, 0, 0])),
            FUNCTION => section(&mut bytes, id, &with_one_more(content, &type_index)),
            CODE => section(&mut bytes, id, &with_one_more(content, &entry)),
            START if is_start => {}
            _ => section(&mut bytes, id, content),
        }
    }
    bytes
}

fn sections(module: &[u8]) -> Vec<(u8, &[u8])> {
    let mut rest = &module[8..];
    let mut sections = Vec::new();
    while let Some((id, after)) = rest.split_first() {
        let (size, after) = read(after);
        let (content, after) = after.split_at(size);
        sections.push((*id, content));
        rest = after;
    }
    sections
}

fn section(to: &mut Vec<u8>, id: u8, content: &[u8]) {
    to.push(id);
    number(to, content.len());
    to.extend_from_slice(content);
}

/// A section of entries, with one more at its end.
fn with_one_more(content: &[u8], entry: &[u8]) -> Vec<u8> {
    let (count, entries) = read(content);
    let mut more = Vec::new();
    number(&mut more, count + 1);
    more.extend_from_slice(entries);
    more.extend_from_slice(entry);
    more
}

/// Writes a number in LEB128.
fn number(to: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Reads one, and gives what follows.
fn read(bytes: &[u8]) -> (usize, &[u8]) {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).expect("a whole number") + 1;
    let (digits, rest) = bytes.split_at(length);
    (digits.iter().rev().fold(0, |number, byte| number << 7 | usize::from(byte & 0x7f)), rest)
}
