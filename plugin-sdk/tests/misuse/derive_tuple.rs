#[derive(rowmill_sdk::Row)]
struct Order(u64);

fn main() {}
