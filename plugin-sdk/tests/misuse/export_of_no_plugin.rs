struct NotAPlugin;

rowmill_sdk::export!(NotAPlugin);

fn main() {}
