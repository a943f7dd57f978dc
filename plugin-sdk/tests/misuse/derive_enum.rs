#[derive(rowmill_sdk::Row)]
enum Order {
    Open,
}

fn main() {}
