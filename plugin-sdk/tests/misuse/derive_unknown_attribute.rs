#[derive(rowmill_sdk::Row)]
struct Order {
    #[row(name = "order_id")]
    id: u64,
}

fn main() {}
