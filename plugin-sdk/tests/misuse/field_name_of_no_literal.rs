use rowmill_sdk::Out;

fn row(out: &mut Out<'_>, name: String) {
    out.document().text(name, "value");
}

fn main() {}
