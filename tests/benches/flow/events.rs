//! The records: Debezium events without schema, inserts into `shop.trade` with 41 columns and about 2.7 KB each. Every event has
//! its own ID and binlog position, both with ten digits, and three of five statuses pass the benchmark's filter.
//!
//! Equal seeds give equal events.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use fastrand::Rng;

/// The ID of event 0.
pub const FIRST_ID: u64 = 1_000_000_000;
/// The binlog position of event 0, and the distance of the next one. A position has 32 bits.
const FIRST_POSITION: u64 = 1_000_000_000;
const POSITIONS_PER_EVENT: u64 = 100;
/// More events would have positions that do not fit.
pub const MAX_EVENTS: u64 = 32_000_000;
/// The number of different events in a pool.
const POOL: u64 = 4_096;

const WORDS: [&str; 20] = [
    "冬季",
    "加厚",
    "羽绒服",
    "限量",
    "保暖",
    "旗舰",
    "新款",
    "现货",
    "包邮",
    "正品",
    "jacket",
    "down",
    "warm",
    "sale",
    "new",
    "limited",
    "winter",
    "size",
    "colour",
    "❄️",
];
const NAMES: [&str; 15] = [
    "zhang",
    "wei",
    "li",
    "na",
    "wang",
    "fang",
    "liu",
    "yang",
    "chen",
    "jie",
    "收件人",
    "赵敏",
    "anna",
    "müller",
    "o'neil",
];

/// The key of event `n`.
pub fn key(n: u64) -> String {
    format!("{{\"id\":{}}}", FIRST_ID + n)
}

/// Creates events one after the other, each with random content of its own.
pub struct Events {
    random: Rng,
}

impl Events {
    /// The events of this seed.
    pub fn new(seed: u64) -> Self {
        Self { random: Rng::with_seed(seed) }
    }

    /// Replaces the content of `event` by event `n`. Returns true if the filter keeps it.
    pub fn write(&mut self, n: u64, event: &mut String) -> bool {
        event.clear();
        let status = self.random.u8(..5);
        event.push_str("{\"before\":null,\"after\":{");
        let created = 1_772_323_200_000_u64 + n * 1_003;
        self.write_trade(n, status, event);
        self.write_people(created, event);
        self.write_texts(n, event);
        let ms = 1_795_215_172_000_u64 + n;
        let position = FIRST_POSITION + n * POSITIONS_PER_EVENT;
        let sent = ms + 772;
        write(
            event,
            format_args!(
                "}},\"source\":{{\"version\":\"3.5.0.Final\",\"connector\":\"mariadb\",\"name\":\"dbz-plain\",\"ts_ms\":{ms},\
                 \"snapshot\":\"false\",\"db\":\"shop\",\"sequence\":null,\"ts_us\":{ms}000,\"ts_ns\":{ms}000000,\
                 \"table\":\"trade\",\"server_id\":1,\"gtid\":null,\"file\":\"binlog.000001\",\"pos\":{position},\"row\":0,\
                 \"thread\":null,\"query\":null}},\"transaction\":null,\"op\":\"c\",\"ts_ms\":{sent},\"ts_us\":{sent}000,\
                 \"ts_ns\":{sent}000000}}"
            ),
        );
        (1..=3).contains(&status)
    }

    /// The columns from the ID to the currency.
    fn write_trade(&mut self, n: u64, status: u8, out: &mut String) {
        let id = FIRST_ID + n;
        let r = &mut self.random;
        let cents = r.u64(1..100_000_000);
        let (buyer, seller, shop) = (1_000 + r.u64(..1 << 40), r.u64(..1 << 40), r.u32(..5_000));
        write(
            out,
            format_args!(
                "\"id\":{id},\"trade_no\":\"T2026{id}\",\"buyer_id\":{buyer},\"seller_id\":-{seller},\"shop_name\":\"旗舰店{shop}号\",\
                 \"title\":\""
            ),
        );
        words(r, 24, &WORDS, out);
        let tags = choose(r, &["\"vip\"", "\"gift\"", "\"vip,gift\"", "null"]);
        let discount = choose(r, &["\"0.1250\"", "null"]);
        write(
            out,
            format_args!(
                "\",\"status\":{status},\"tags\":{tags},\"amount\":\"{}.{:02}\",\"discount\":{discount},\
                 \"exchange_rate\":\"{}.123456789012\",\"quantity\":{},\"item_count\":{},\"level\":-{},\"score\":-{},\
                 \"weight_kg\":{},\"ratio\":{},\"is_paid\":{},\"is_refunded\":{},\"flags\":\"AYA=\",\"currency\":\"CNY\",",
                cents / 100,
                cents % 100,
                r.u8(1..20),
                r.u16(1..500),
                r.u8(1..20),
                r.u8(1..9),
                r.u32(..1 << 23),
                f64::from(r.u16(1..900)) / 10.0,
                f64::from(r.u8(1..90)) / 4.0,
                r.u8(..2),
                r.u8(..10) == 0,
            ),
        );
    }

    /// The columns from the payment to the memos.
    fn write_people(&mut self, created: u64, out: &mut String) {
        let r = &mut self.random;
        let channel = choose(r, &["\"alipay\"", "\"wechat\"", "\"card\"", "null"]);
        let paid = if r.bool() { (created + 5_000_000).to_string() } else { "null".into() };
        let before = choose(r, &["  ", " ", "\\t"]);
        write(
            out,
            format_args!(
                "\"pay_channel\":{channel},\"pay_time\":{paid},\"ship_time\":null,\"created_at\":{created},\
                 \"updated_at\":\"2026-11-20T22:52:47.755Z\",\"settled_on\":null,\"cutoff\":-45296789000,\"fiscal_year\":2026,\
                 \"receiver_name\":\"{before}"
            ),
        );
        words(r, 3, &NAMES, out);
        let after = choose(r, &["", " ", "  "]);
        write(
            out,
            format_args!(
                "{after}\",\"receiver_phone\":\"+86 138-{:04}-{:04}\",\"receiver_addr\":\"浙江省杭州市余杭区文一西路{}号\",\
                 \"buyer_memo\":\"{}\",\"seller_memo\":",
                r.u16(..10_000),
                r.u16(..10_000),
                r.u16(..999),
                "请尽快发货。".repeat(r.usize(4..14)),
            ),
        );
        if r.bool() {
            out.push('"');
            words(r, 6, &WORDS, out);
            out.push('"');
        } else {
            out.push_str("null");
        }
    }

    /// The columns from `ext` on: long texts and bytes.
    fn write_texts(&mut self, n: u64, out: &mut String) {
        let r = &mut self.random;
        let hundred_twenty = "x".repeat(120);
        write(
            out,
            format_args!(
                ",\"ext\":\"{{\\\"源\\\": \\\"app\\\", \\\"n\\\": {n}, \\\"big\\\": 9007199254740993, \\\"list\\\": [1, \\\"two\\\", \
                 null, true], \\\"text\\\": \\\"{hundred_twenty}\\\"}}\",\"detail\":\"<p>"
            ),
        );
        for line in 0..14 {
            write(out, format_args!("detail line {n} — quoted \\\"text\\\", back\\\\slash {line}\\n"));
        }
        let mut bytes = [0; 48];
        r.fill(&mut bytes);
        let (sign, trace) = bytes.split_at(32);
        let remark = choose(r, &["\"\"", "null"]);
        write(
            out,
            format_args!(
                "</p>\",\"sign\":\"{}\",\"raw_blob\":\"AP+AAP+AAP+AAP+AAP+AAP+AAP+AAP+A\",\"trace_id\":\"{}\",\"remark\":{remark},\
                 \"version\":0",
                BASE64.encode(sign),
                BASE64.encode(trace),
            ),
        );
    }
}

/// Events that a producer can make at any rate: a few thousand different ones, of which each copy gets another ID and position.
pub struct Pool {
    templates: Vec<Template>,
}

#[derive(Clone)]
struct Template {
    bytes: Vec<u8>,
    /// Where the ID stands in it, and the position.
    ids: Vec<usize>,
    position: usize,
    is_kept: bool,
}

impl Pool {
    /// The pool of this seed.
    pub fn new(seed: u64) -> Self {
        let mut events = Events::new(seed);
        let templates = (0..POOL).map(|n| {
            let mut text = String::new();
            let is_kept = events.write(n, &mut text);
            Template::new(text, n, is_kept)
        });
        Self { templates: templates.collect() }
    }

    /// Only those events of this seed that the filter keeps. Each of them has this poison, if any.
    pub fn of_kept(seed: u64, poison: Option<Poison>) -> Self {
        let mut events = Events::new(seed);
        let templates = (0..POOL).filter_map(|n| {
            let mut text = String::new();
            let is_kept = events.write(n, &mut text);
            if let Some(poison) = poison {
                poison.add_to(&mut text);
            }
            is_kept.then(|| Template::new(text, n, is_kept))
        });
        Self { templates: templates.collect() }
    }

    fn template(&self, n: u64) -> &Template {
        &self.templates[(n % self.templates.len() as u64) as usize]
    }

    /// Returns true if the filter keeps event `n`.
    pub fn is_kept(&self, n: u64) -> bool {
        self.template(n).is_kept
    }

    /// Replaces the content of `event` by event `n`, which writes document `n`.
    pub fn write(&self, n: u64, event: &mut Vec<u8>) {
        self.write_document(n, n, event);
    }

    /// Replaces the content of `event` by event `n`, which writes this document.
    pub fn write_document(&self, n: u64, document: u64, event: &mut Vec<u8>) {
        let template = self.template(n);
        event.clear();
        event.extend_from_slice(&template.bytes);
        for at in &template.ids {
            write_ten_digits(FIRST_ID + document, &mut event[*at..]);
        }
        write_ten_digits(FIRST_POSITION + n * POSITIONS_PER_EVENT, &mut event[template.position..]);
    }
}

impl Template {
    fn new(text: String, n: u64, is_kept: bool) -> Self {
        let places = |number: u64| text.match_indices(&number.to_string()).map(|(at, _)| at).collect::<Vec<_>>();
        let ids = places(FIRST_ID + n).into_iter().filter(|at| !text[..*at].ends_with("\"pos\":")).collect();
        let position = text.rfind("\"pos\":").map_or(0, |at| at + "\"pos\":".len());
        Self { bytes: text.into_bytes(), ids, position, is_kept }
    }
}

/// What makes an event a dead letter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Poison {
    /// The plugin fails: the amount is not a whole number of cents.
    Row,
    /// Elasticsearch rejects the document: its quantity is not a number.
    Document,
}

/// The quantity of a poisoned document, as it stands in the document.
pub const POISON_QUANTITY: &[u8] = b"\"quantity\":\"poison\"";

impl Poison {
    fn add_to(self, event: &mut String) {
        let (name, value) = match self {
            Self::Row => ("\"amount\":", "\"0.001\""),
            Self::Document => ("\"quantity\":", "\"poison\""),
        };
        if let Some(begin) = event.find(name).map(|at| at + name.len()) {
            let end = event[begin..].find(',').map_or(event.len(), |length| begin + length);
            event.replace_range(begin..end, value);
        }
    }
}

/// The event that wrote a version, which contains the position (docs/versions.md).
pub fn event_of(version: u64) -> Option<u64> {
    (version >> 10 & u64::from(u32::MAX)).checked_sub(FIRST_POSITION).map(|distance| distance / POSITIONS_PER_EVENT)
}

fn write_ten_digits(mut number: u64, out: &mut [u8]) {
    for digit in out[..10].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn choose<'a>(random: &mut Rng, of: &[&'a str]) -> &'a str {
    of[random.usize(..of.len())]
}

fn words(random: &mut Rng, n: usize, of: &[&str], out: &mut String) {
    for place in 0..n {
        if place > 0 {
            out.push(' ');
        }
        out.push_str(choose(random, of));
    }
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = out.write_fmt(text);
}
