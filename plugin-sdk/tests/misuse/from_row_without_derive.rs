use rowmill_sdk::Columns;

struct Order {
    id: u64,
}

fn main() {
    let _ = Columns::none().row::<Order>();
}
