use rowmill_sdk::{Out, doc};

fn row(out: &mut Out<'_>) {
    doc!(out.document(), { "id" => 1 });
}

fn main() {}
