//! The client for a running gateway: finds it and sends requests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use reqwest::{RequestBuilder, Url};
use serde::Deserialize;
use tokio::runtime::Runtime;

use super::GatewayArgs;
use crate::command::Usage;
use crate::config::{Config, Overrides, Secret};
use crate::http::address;

/// The time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The time limit for an answer. It is longer than the gateway waits for its supervisor.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(310);

/// A connection to a gateway over HTTP.
pub(super) struct Gateway {
    url: Url,
    token: Option<Secret>,
    client: reqwest::Client,
    runtime: Runtime,
    /// The advice to print if it does not answer.
    advice: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    error: String,
}

impl Gateway {
    /// Finds the gateway's address and token. Sends nothing yet.
    ///
    /// # Errors
    /// The arguments or the configuration are wrong, or no gateway has written its address.
    pub fn find(args: &GatewayArgs) -> anyhow::Result<Self> {
        let start = format!("start one with `rowmill run -c {}`", args.config.display());
        let (url, token, advice) = match &args.url {
            Some(text) => (parse(text)?, None, "check that it runs and that the address is right".to_string()),
            None => {
                let config = read(args)?;
                let address = address(&config, args, &start)?;
                let url = parse(&format!("http://{}", reachable(address)))?;
                (url, config.http.token, format!("{start}, or pass another gateway's address with --url"))
            }
        };
        let token = match &args.token_file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| Usage(format!("--token-file: cannot read {}: {error}", path.display())))?;
                Some(Secret(text.trim().to_string()))
            }
            None => token,
        };
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .build()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { url, token, client, runtime, advice })
    }

    /// `GET /plugins/…`.
    pub fn get(&self, path: &[&str]) -> anyhow::Result<String> {
        self.send(self.client.get(self.endpoint(path)))
    }

    /// `POST /plugins/…`.
    pub fn post(&self, path: &[&str], body: Option<String>) -> anyhow::Result<String> {
        let request = self.client.post(self.endpoint(path));
        self.send(match body {
            Some(body) => request.header("content-type", "application/json").body(body),
            None => request,
        })
    }

    fn endpoint(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("plugins").extend(path);
        }
        url
    }

    fn send(&self, request: RequestBuilder) -> anyhow::Result<String> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(&token.0),
            None => request,
        };
        let (status, text) = self
            .runtime
            .block_on(async {
                let response = request.send().await?;
                Ok((response.status(), response.text().await?))
            })
            .map_err(|error: reqwest::Error| self.explain(&error))?;
        if status.is_success() {
            return Ok(text);
        }
        match serde_json::from_str::<ErrorBody>(&text) {
            Ok(ErrorBody { error }) => bail!(error),
            Err(_) => bail!("the server at {} is not a gateway of this version: it answered {status}", self.url),
        }
    }

    fn explain(&self, error: &reqwest::Error) -> anyhow::Error {
        if error.is_timeout() && !error.is_connect() {
            return anyhow!(
                "the gateway at {} accepted the request but did not answer within {} s; see its log",
                self.url,
                ANSWER_TIMEOUT.as_secs()
            );
        }
        // The innermost cause is the useful one: connection refused, unknown host.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        anyhow!("no gateway answers at {} ({cause}); {}", self.url, self.advice)
    }
}

fn read(args: &GatewayArgs) -> anyhow::Result<Config> {
    let overrides = Overrides { plugins: args.plugins.clone(), set: args.set.clone() };
    if !args.config.exists() {
        return Err(Usage(format!(
            "{} does not exist; pass the gateway's configuration with -c, or its address with --url",
            args.config.display()
        ))
        .into());
    }
    Ok(crate::config::read(&args.config, &overrides)?)
}

/// The HTTP address of a gateway with this configuration.
fn address(config: &Config, args: &GatewayArgs, start: &str) -> anyhow::Result<SocketAddr> {
    if let Some(listen) = config.http.listen.filter(|listen| listen.port() != 0) {
        return Ok(listen);
    }
    let Some(state) = config.address_folder() else {
        bail!(
            "cannot find the gateway: {} sets no plugins.dir, or an empty plugins.state; pass --plugins DIR or --set KEY=VALUE as at its start, or the address from its log with --url",
            args.config.display()
        );
    };
    let found = address::read(state).context(
        "cannot read the gateway's address; run this command as the gateway's user, or pass the address with --url",
    )?;
    found.with_context(|| {
        format!(
            "no gateway runs with {}: {} holds no address; {start}, or pass the address from a gateway's log with --url",
            args.config.display(),
            state.display()
        )
    })
}

/// An address to connect to: replaces an unspecified address such as 0.0.0.0 by the loopback address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn parse(text: &str) -> anyhow::Result<Url> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(Usage(format!("--url {text:?} is not a URL like \"http://127.0.0.1:8088\"")).into()),
    }
}
