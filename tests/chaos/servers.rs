//! A real Kafka and a real Elasticsearch of one's own, to be killed and started again.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rowmill_tests::elasticsearch::Elasticsearch;
use rowmill_tests::history::Documents;
use rowmill_tests::kafka::Kafka;
use rowmill_tests::{TempDir, root, scratch, wait};
use rustix::process::{Pid, Signal, kill_process};

/// The two servers; they are stopped when this is dropped.
pub struct Servers {
    kafka: Server,
    elasticsearch: Server,
    _folder: TempDir,
}

impl Servers {
    /// Starts both with fresh data, from `tests/stack`.
    pub fn start() -> Result<Self, String> {
        let folder = scratch("chaos-servers");
        let kafka = Server::start("kafka", folder.path())?;
        let elasticsearch = Server::start("elasticsearch", folder.path())?;
        Ok(Self { kafka, elasticsearch, _folder: folder })
    }

    pub fn kafka(&self) -> Kafka {
        Kafka { brokers: format!("127.0.0.1:{}", self.kafka.port) }
    }

    /// The port of Elasticsearch.
    pub fn port(&self) -> u16 {
        self.elasticsearch.port
    }

    pub fn elasticsearch(&self) -> Elasticsearch {
        Elasticsearch::at(&format!("http://127.0.0.1:{}", self.elasticsearch.port))
    }

    /// Kills Kafka and starts it again with its data.
    pub fn restart_kafka(&self) -> Result<(), String> {
        self.kafka.kill()?;
        self.kafka.run()
    }

    /// Kills Elasticsearch and starts it again with its data.
    pub fn restart_elasticsearch(&self) -> Result<(), String> {
        self.elasticsearch.kill()?;
        self.elasticsearch.run()
    }

    /// Everything in Elasticsearch except Rowmill's own indices.
    pub fn documents(&self) -> Documents {
        let elasticsearch = self.elasticsearch();
        let names = self.indices().into_iter().filter(|name| !name.starts_with("rowmill-"));
        let of_index = |index: String| {
            let sources = elasticsearch.sources(&index).into_iter();
            sources.map(move |(id, source)| ((index.clone(), id), source))
        };
        names.flat_map(of_index).collect()
    }

    /// Deletes all indices.
    pub fn clear(&self) {
        for index in self.indices() {
            self.elasticsearch().ask("DELETE", &format!("/{index}"), None);
        }
    }

    fn indices(&self) -> Vec<String> {
        let (_, answer) = self.elasticsearch().ask("GET", "/_alias", None);
        answer.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    }
}

struct Server {
    name: &'static str,
    port: u16,
    data: PathBuf,
}

impl Server {
    fn start(name: &'static str, folder: &Path) -> Result<Self, String> {
        // Below the ports that connections get: while a server is down, one of them would take its port.
        let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let port = (fastrand::u16(20_000..30_000)..30_000).find(is_free).ok_or("no port is free")?;
        let server = Self { name, port, data: folder.join(name) };
        server.run()?;
        Ok(server)
    }

    /// Runs the server's script, which returns when the server is ready.
    fn run(&self) -> Result<(), String> {
        let mut command = self.script("start.sh");
        let status = command.arg(self.port.to_string()).arg(&self.data).status().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("{} does not start; see above", self.name)) }
    }

    fn script(&self, name: &str) -> Command {
        let mut command = Command::new(root().join("tests/stack").join(self.name).join(name));
        command.stdin(Stdio::null()).stdout(Stdio::null()).env("STACK_QUIET", "1");
        command
    }

    /// Kills the server, and waits until it is gone.
    fn kill(&self) -> Result<(), String> {
        let path = self.data.join(format!("{}.pid", self.name));
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let id = text.trim().parse().ok().and_then(Pid::from_raw).ok_or("no process ID")?;
        kill_process(id, Signal::KILL).map_err(|error| error.to_string())?;
        let is_gone = || TcpStream::connect(("127.0.0.1", self.port)).is_err().then_some(());
        wait::within(Duration::from_secs(30), is_gone).ok_or(format!("{} does not end", self.name))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its folder is removed next; a server that does not stop shows in the script's message.
        let _ = self.script("stop.sh").arg(&self.data).status();
    }
}
