use std::borrow::Cow;

#[derive(rowmill_sdk::Row)]
struct Order<'a, 'b> {
    state: Cow<'a, str>,
    note: Cow<'b, str>,
}

fn main() {}
