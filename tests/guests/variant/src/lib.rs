//! A plugin whose actions are in its file and not in its settings: tests patch them in the built file, to get generations with
//! different behaviour. Each row becomes a document of its columns, and `by`, the name of the generation.

use rowmill_sdk::{Fail, NoSettings, Out, Row, Transform};

/// The actions: words with `=`, padded with spaces. Tests find this text in the file.
///
/// - `by=WORD`: the content of the field `by`.
/// - `trap=N`: traps on rows whose `id` is a multiple of N.
/// - `fail=N`: fails them.
/// - `drop=N`: filters them.
/// - `odd=N`: writes something else into the field `name` of the row with this `id`.
/// - `hang=N`: never returns for rows whose `id` is at least N.
/// - `slow=N`: runs N times N thousand loops for each row.
pub static DEEDS: [u8; 80] = *b"deeds: by=built                                                                 ";

/// The plugin.
#[derive(Debug)]
pub struct Variant {
    by: String,
    trap: Option<u64>,
    fail: Option<u64>,
    drop: Option<u64>,
    odd: Option<u64>,
    hang: Option<u64>,
    slow: u64,
}

impl Transform for Variant {
    const NAME: &'static str = "variant";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Settings = NoSettings;

    fn new(_: Self::Settings) -> Result<Self, String> {
        // The compiler could inline a known value into the code, where tests would not find it.
        let deeds = std::hint::black_box(&DEEDS);
        let deeds = std::str::from_utf8(deeds).map_err(|error| error.to_string())?;
        let of = |name: &str| deeds.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let number = |name: &str| of(name).map(|text| text.parse().map_err(|_| format!("{name}={text}"))).transpose();
        Ok(Self {
            by: of("by").unwrap_or_default().to_string(),
            trap: number("trap")?,
            fail: number("fail")?,
            drop: number("drop")?,
            odd: number("odd")?,
            hang: number("hang")?,
            slow: number("slow")?.unwrap_or_default(),
        })
    }

    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        let id = row.u64("id")?.unwrap_or_default();
        let hits = |every: Option<u64>| every.is_some_and(|every| id % every == 0);
        assert!(!hits(self.trap), "told to trap");
        while self.hang.is_some_and(|from| id >= from) {
            std::hint::black_box(id);
        }
        if hits(self.fail) {
            return Err(Fail::new("told to fail"));
        }
        if hits(self.drop) {
            out.drop();
            return Ok(());
        }
        for turn in 0..self.slow * 1_000 {
            std::hint::black_box(turn);
        }
        let mut document = out.document();
        if self.odd == Some(id) {
            document.all_except(["name"]).text("name", "odd");
        } else {
            document.all();
        }
        document.text("by", &self.by);
        Ok(())
    }
}

rowmill_sdk::export!(Variant);
