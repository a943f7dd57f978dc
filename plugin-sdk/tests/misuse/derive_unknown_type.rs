struct Money;

#[derive(rowmill_sdk::Row)]
struct Order {
    id: u64,
    total: Money,
}

fn main() {}
