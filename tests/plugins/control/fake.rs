//! A gateway of which only the HTTP server is real: a thread answers for fictitious plugins.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rowmill::config::{Rollout, Secret};
use rowmill::health::Health;
use rowmill::http::{self, Served};
use rowmill::metrics::Metrics;
use rowmill::plugins::control::{Control, Request};
use rowmill::plugins::status::{CommandError, OperatorCommand, Status};
use rowmill::shutdown::Shutdown;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Serves `/plugins` until it is dropped.
pub struct Fake {
    /// The address.
    pub address: SocketAddr,
    /// Commands that were accepted.
    pub commands: Arc<Mutex<Vec<(String, OperatorCommand)>>>,
    runtime: Runtime,
}

impl Fake {
    /// On a loopback address.
    pub fn start(status: Value) -> Self {
        Self::serve(status, "127.0.0.1:0", None)
    }

    /// On this address, with a token.
    pub fn serve(status: Value, address: &str, token: Option<&str>) -> Self {
        let (control, requests) = Control::channel();
        let commands = Arc::<Mutex<Vec<_>>>::default();
        let accepted = commands.clone();
        let mut status: Status = serde_json::from_value(status).expect("a status");
        std::thread::spawn(move || {
            for request in requests {
                match request {
                    Request::Status(reply) => reply.send(status.clone()).expect("someone waits"),
                    Request::Command(name, command, reply) => {
                        let answer = carry_out(&mut status, &name, command);
                        if answer.is_ok() {
                            accepted.lock().expect("no test panics with it").push((name, command));
                        }
                        reply.send(answer).expect("someone waits");
                    }
                    Request::Configure(_, reply) => reply.send(Ok(Vec::new())).expect("someone waits"),
                }
            }
        });
        Self { commands, ..Self::with(control, address, token) }
    }

    /// With or without a thread that answers.
    pub fn with(control: Control, address: &str, token: Option<&str>) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let served = Served {
            metrics: Metrics::new(),
            health: Health::new(Duration::from_secs(60)),
            shutdown: Shutdown::default(),
            control,
            token: token.map(|token| Secret(token.into())),
        };
        let address = runtime.block_on(http::serve(address.parse().expect("an address"), served)).expect("a free port");
        Self { address, commands: Arc::default(), runtime }
    }

    /// Takes the accepted commands.
    pub fn taken_commands(&self) -> Vec<(String, OperatorCommand)> {
        std::mem::take(&mut self.commands.lock().expect("no test panics with it"))
    }

    /// Sends a request, and returns the status and the body as JSON.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
        // The unspecified address is reached through loopback.
        let url = format!("http://127.0.0.1:{}{path}", self.address.port());
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let method = method.parse().expect("a method");
        let mut request = client.request(method, url).body(body.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.runtime.block_on(async {
            let response = request.send().await.expect("an answer");
            let status = response.status().as_u16();
            let text = response.text().await.expect("a body");
            (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
        })
    }
}

fn carry_out(status: &mut Status, name: &str, command: OperatorCommand) -> Result<String, CommandError> {
    let Some(plugin) = status.plugins.iter_mut().find(|plugin| plugin.name == name) else {
        return Err(CommandError::Unknown(format!("no plugin is named {name:?}; plugins: row-filter, trade-document")));
    };
    match command {
        OperatorCommand::Rollback if plugin.last_good.is_none() => {
            Err(CommandError::Conflict(format!("{name} has no last good generation; put another file into the folder")))
        }
        OperatorCommand::Rollout(rollout) => {
            plugin.rollout = rollout;
            Ok(format!("the next generation of {name} comes in by {:?}", rollout.mode).to_lowercase())
        }
        command => Ok(format!("{name}: {command:?} is done")),
    }
}

/// A plugin without a trial and without a previous generation.
fn quiet() -> Value {
    json!({
        "name": "row-filter", "file": "plugins/10-row-filter.wasm", "state": "running",
        "running": {"generation": 1, "version": "0.1.0", "hash": "e6ddc508da6a".repeat(6)[..64], "rows": 1_204_551,
                    "failed": 0, "faults": 0, "us_per_row": 0.314},
        "rollout": Rollout::default(), "history": [],
    })
}

/// A plugin on probation, with a candidate in its trial.
fn busy() -> Value {
    json!({
        "name": "trade-document", "file": "plugins/20-trade-document.wasm", "state": "probation",
        "running": {"generation": 4, "version": "0.2.0", "hash": "bb".repeat(32), "rows": 20_113, "failed": 2,
                    "faults": 1, "us_per_row": 1.018},
        "last_good": {"generation": 3, "version": "0.1.9", "hash": "aa".repeat(32), "rows": 9_113_004, "failed": 0,
                      "faults": 0, "us_per_row": 0.98},
        "candidate": {
            "hash": "cc".repeat(32), "state": "held", "promotable": true,
            "reason": "12 of 4,193 documents changed, which is more than max_changed (0.1 %)",
            "trial": {
                "mode": "shadow", "rows": 4_210, "of_rows": 10_000, "share": 0.1, "equal": 4_180, "changed": 12,
                "added": 1, "missing": 0, "failed_old": 0, "failed_new": 3, "us_per_row_old": 1.02,
                "us_per_row_new": 1.4,
                "fields": [{"field": "pay.amountCents", "documents": 12}, {"field": "note", "documents": 1}],
                "examples": [
                    {"table": "shop.trade", "index": "trade", "id": "4", "kind": "changed", "fields": [
                        {"field": "pay.amountCents", "old": "39964", "new": "39965"},
                        {"field": "note", "old": null, "new": "\"\u{1b}[31mred\""},
                    ]},
                    {"table": "shop.trade", "index": "trade", "id": "5", "kind": "added", "fields": []},
                ],
            },
        },
        "rollout": {"mode": "shadow", "rows": 10_000, "share": 0.1, "publish": true, "max_changed": 0.001},
        "history": [
            {"at": "2026-11-21T14:00:05Z", "what": "published", "generation": 3, "hash": "aa".repeat(32), "detail": ""},
            {"at": "2026-11-21T14:03:10Z", "what": "refused", "generation": null, "hash": "dd".repeat(32),
             "detail": "case two-rows: the document of row 2 is not as expected"},
            {"at": "2026-11-21T14:10:00Z", "what": "published", "generation": 4, "hash": "bb".repeat(32), "detail": "after a shadow of 10,000 rows"},
        ],
    })
}

/// Two plugins, and a refused file.
pub fn status() -> Value {
    json!({
        "chain": 7, "folder": "plugins", "plugins": [quiet(), busy()],
        "refused": [{"file": "plugins/x.wasm", "reason": "format: not a WebAssembly file: it does not begin with \\0asm; build it with `rowmill plugin build`"}],
    })
}
