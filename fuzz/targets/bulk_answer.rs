//! Answers to bulk requests: never a panic, and never more or fewer items than the request had.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rowmill::sink::elasticsearch::check_bulk_answer;

fuzz_target!(|data: (u8, &str)| {
    let (count, body) = data;
    let count = usize::from(count % 4);
    if let Ok(items) = check_bulk_answer(body, count) {
        assert_eq!(items, count);
    }
});
