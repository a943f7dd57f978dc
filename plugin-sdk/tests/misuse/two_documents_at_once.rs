use rowmill_sdk::Out;

fn row(out: &mut Out<'_>) {
    let mut order = out.document();
    let mut note = out.document();
    order.column("id");
    note.column("note");
}

fn main() {}
