//! A plugin that asks WASI for all that it could give, one thing by its settings, and puts the answer into the column
//! `note`. Built for wasm32-wasip2, where Rust's standard library asks through WASI.

use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use rowmill_sdk::{Fail, Out, Row, Transform};
use serde::Deserialize;

/// The plugin.
#[derive(Debug)]
pub struct Wasi(Settings);

/// What it asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    r#do: String,
}

impl Transform for Wasi {
    const NAME: &'static str = "wasi-guest";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings))
    }

    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
        let number = row.i64("n")?.unwrap_or_default();
        if let Some(answer) = ask(&self.0.r#do, number) {
            out.edit().text("note", &answer);
        }
        Ok(())
    }
}

/// What came of the deed; nothing for one that is not known.
fn ask(deed: &str, number: i64) -> Option<String> {
    Some(match deed {
        "files" => [said(std::fs::read("/etc/passwd")), said(std::fs::write("x", "y")), said(std::fs::read_dir("/"))]
            .join(", "),
        "environment" => format!("{} variables, {} arguments", std::env::vars().count(), std::env::args().count()),
        "network" => [
            said(TcpStream::connect("127.0.0.1:80")),
            said(TcpListener::bind("127.0.0.1:0")),
            said(UdpSocket::bind("127.0.0.1:0")),
            said("localhost:80".to_socket_addrs()),
        ]
        .join(", "),
        "clock" => {
            let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let start = Instant::now();
            let first = since(SystemTime::now());
            format!("{first:?}, then {:?} later", start.elapsed() + since(SystemTime::now()) - first)
        }
        // The first one of an instance is seeded by WASI.
        "random" => RandomState::new().hash_one(0).to_string(),
        "input" => {
            let mut text = String::new();
            let read = std::io::stdin().read_to_string(&mut text);
            format!("{}, {} bytes", said(read), text.len())
        }
        "output" => {
            let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
            let written =
                writeln!(out, "row {number}\nand \u{1b}[31mmore").and_then(|()| writeln!(err, "bad {number}"));
            let begun = write!(out, "no end of line").and_then(|()| out.flush());
            format!("{}, {}", said(written), said(begun))
        }
        "flood" => {
            let line = "x".repeat(100_000);
            for _ in 0..1_000 {
                let _ = writeln!(std::io::stdout(), "{line}");
            }
            String::from("flooded")
        }
        "sleep" => {
            std::thread::sleep(Duration::from_secs(3_600));
            String::from("slept")
        }
        "wait-for-the-clock" => {
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(1) {
                std::thread::sleep(Duration::from_millis(100));
            }
            String::from("waited")
        }
        "exit" => std::process::exit(0),
        "thread" => said(std::thread::Builder::new().spawn(|| ())),
        _ => return None,
    })
}

fn said<T>(result: std::io::Result<T>) -> String {
    result.map_or_else(|error| format!("{:?}", error.kind()), |_| String::from("done"))
}

rowmill_sdk::export!(Wasi);
