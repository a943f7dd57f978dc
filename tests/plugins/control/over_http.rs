//! `/plugins`: each request, each error, and who has access.

use std::io::{Read, Write};
use std::net::TcpStream;

use rowmill::config::{Rollout, RolloutMode};
use rowmill::plugins::control::Control;
use rowmill::plugins::status::OperatorCommand;
use serde_json::Value;

use super::fake::{Fake, status};

const EVERYWHERE: &str = "0.0.0.0:0";
const TOKEN: &str = "a-token-of-some-length";

#[track_caller]
fn refused((code, body): (u16, Value), status: u16, words: &[&str]) {
    assert_eq!(code, status, "{body}");
    let error = body["error"].as_str().unwrap_or_else(|| panic!("an error: {body}"));
    for word in words {
        assert!(error.contains(word), "{error}\ndoes not contain\n{word}");
    }
}

#[track_caller]
fn done((code, body): (u16, Value)) {
    assert_eq!(code, 200, "{body}");
    assert!(body["done"].as_str().is_some_and(|sentence| !sentence.is_empty()), "{body}");
}

#[test]
fn all_plugins_and_one_are_returned() {
    let fake = Fake::start(status());
    let (code, all) = fake.send("GET", "/plugins", &[], "");
    assert_eq!((code, &all["chain"], all["plugins"].as_array().map(Vec::len)), (200, &7.into(), Some(2)));
    assert_eq!(all["plugins"][1]["candidate"]["trial"]["examples"][0]["fields"][0]["new"], "39965");
    assert_eq!(all["refused"][0]["file"], "plugins/x.wasm");
    let (code, one) = fake.send("GET", "/plugins/trade-document", &[], "");
    assert_eq!((code, &one), (200, &all["plugins"][1]));
    refused(fake.send("GET", "/plugins/trade", &[], ""), 404, &["\"trade\"", "plugins: row-filter, trade-document"]);
    refused(fake.send("DELETE", "/plugins/trade-document", &[], ""), 405, &["GET", "POST"]);
}

#[test]
fn commands_reach_the_plugins() {
    let fake = Fake::start(status());
    let command = |command: &str| fake.send("POST", &format!("/plugins/trade-document/{command}"), &[], "");
    for (name, expected) in [
        ("rollback", OperatorCommand::Rollback),
        ("enable", OperatorCommand::Enable),
        ("disable", OperatorCommand::Disable),
        ("promote", OperatorCommand::Promote),
        ("discard", OperatorCommand::Discard),
    ] {
        done(command(name));
        assert_eq!(fake.taken_commands(), [("trade-document".to_string(), expected)]);
    }
    refused(command("promot"), 404, &["did you mean \"promote\"?"]);
    refused(command("explode"), 404, &["commands: rollback, enable, disable, promote, discard, rollout"]);
    refused(fake.send("POST", "/plugins/trade/enable", &[], ""), 404, &["plugins: row-filter, trade-document"]);
    refused(fake.send("POST", "/plugins/row-filter/rollback", &[], ""), 409, &["no last good generation"]);
    refused(fake.send("GET", "/plugins/row-filter/rollback", &[], ""), 405, &["POST"]);
    assert!(fake.taken_commands().is_empty(), "what is refused changes nothing");
}

#[test]
fn a_rollout_request_changes_the_given_keys_only() {
    let fake = Fake::start(status());
    let rollout = |body: &str| fake.send("POST", "/plugins/trade-document/rollout", &[], body);
    done(rollout(r#"{"mode": "canary", "rows": 500}"#));
    let canary = Rollout { mode: RolloutMode::Canary, rows: 500, share: 0.1, publish: true, max_changed: 0.001 };
    assert_eq!(fake.taken_commands(), [("trade-document".to_string(), OperatorCommand::Rollout(canary))]);
    done(rollout(r#"{"publish": false}"#));
    let manual = Rollout { publish: false, ..canary };
    assert_eq!(fake.taken_commands(), [("trade-document".to_string(), OperatorCommand::Rollout(manual))]);
    for (body, words) in [
        ("", &["send a JSON object with any of mode (direct, shadow, canary)"][..]),
        ("[1]", &["for example {\"mode\": \"shadow\""]),
        (r#"{"mode": "shadwo"}"#, &["shadwo"]),
        (r#"{"row": 5}"#, &["unknown field `row`", "rows"]),
        (r#"{"rows": 0}"#, &["rows = 0"]),
        (r#"{"share": 1.5}"#, &["share = 1.5", "write 0.1 for a tenth"]),
        (r#"{"max_changed": 2}"#, &["max_changed = 2"]),
    ] {
        refused(rollout(body), 400, words);
    }
    refused(fake.send("POST", "/plugins/trade/rollout", &[], "{}"), 404, &["plugins: row-filter"]);
    refused(rollout(&" ".repeat(65 << 10)), 413, &["64 KiB"]);
    assert!(fake.taken_commands().is_empty(), "what is refused changes nothing");
}

#[test]
fn a_configured_token_is_required() {
    for address in ["127.0.0.1:0", EVERYWHERE] {
        let fake = Fake::serve(status(), address, Some(TOKEN));
        let get = |headers: &[(&str, &str)]| fake.send("GET", "/plugins", headers, "");
        for wrong in [
            "Bearer a-token-of-some-lengtH",
            "Bearer a-token",
            "Bearer ",
            "Bearer",
            TOKEN,
            "Basic a-token-of-some-length",
        ] {
            refused(get(&[("authorization", wrong)]), 401, &["Authorization: Bearer TOKEN", "http.token_file"]);
        }
        refused(get(&[]), 401, &["--token-file"]);
        refused(fake.send("POST", "/plugins/trade-document/promote", &[], ""), 401, &["Bearer"]);
        assert!(fake.taken_commands().is_empty());
        let right = [("authorization", format!("bearer {TOKEN}"))];
        let right = [(right[0].0, &*right[0].1)];
        assert_eq!(get(&right).0, 200);
        done(fake.send("POST", "/plugins/trade-document/promote", &right, ""));
        assert_eq!(fake.taken_commands().len(), 1);
        // Metrics and health stay open.
        assert_eq!(fake.send("GET", "/healthz", &[], "").0, 200);
        assert_eq!(fake.send("GET", "/metrics", &[], "").0, 200);
        assert_eq!(fake.send("GET", "/readyz", &[], "").0, 503);
    }
}

#[test]
fn other_addresses_require_a_token() {
    let fake = Fake::serve(status(), EVERYWHERE, None);
    refused(fake.send("GET", "/plugins", &[], ""), 403, &["set http.token_file"]);
    refused(fake.send("GET", "/plugins/row-filter", &[], ""), 403, &["set http.token_file"]);
    refused(fake.send("POST", "/plugins/row-filter/disable", &[], ""), 403, &["set http.token_file"]);
    assert!(fake.taken_commands().is_empty());
    assert_eq!(fake.send("GET", "/healthz", &[], "").0, 200);
}

#[test]
fn web_pages_in_a_local_browser_have_no_access() {
    let fake = Fake::start(status());
    let (get, post) = (["GET", "/plugins"], ["POST", "/plugins/row-filter/disable"]);
    let send = |[method, path]: [&str; 2], header, value| fake.send(method, path, &[(header, value)], "");
    // A page posts a form across sites; the browser sends the page's origin.
    for origin in ["https://evil.example", "null", "http://localhost:3000"] {
        refused(send(post, "origin", origin), 403, &["Origin"]);
    }
    assert_eq!(send(get, "origin", "https://evil.example").0, 200, "a browser keeps the answer from the page");
    // DNS rebinding: the page's domain points to this machine; the browser sends the domain.
    for host in ["evil.example", "evil.example:8088", "localhost.evil.example", "127.0.0.1.evil.example", "[evil]", ""]
    {
        refused(send(get, "host", host), 403, &["Host"]);
        refused(send(post, "host", host), 403, &["Host"]);
    }
    assert!(fake.taken_commands().is_empty());
    for host in ["localhost", "LOCALHOST:8088", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8088"] {
        assert_eq!(send(get, "host", host).0, 200, "{host}");
    }
    // No header, or two of them, which no valid client sends.
    for hosts in ["", "Host: localhost\r\nHost: evil.example\r\n"] {
        let mut stream = TcpStream::connect(fake.address).expect("it listens");
        write!(stream, "GET /plugins HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n").expect("it takes a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(!answer.starts_with("HTTP/1.1 2") && !answer.contains("row-filter"), "{answer}");
    }
}

#[test]
fn a_gateway_that_shuts_down_says_so() {
    // The answering thread has ended.
    let fake = Fake::with(Control::channel().0, "127.0.0.1:0", None);
    refused(fake.send("GET", "/plugins", &[], ""), 503, &["the gateway is shutting down"]);
    refused(fake.send("GET", "/plugins/row-filter", &[], ""), 503, &["the gateway is shutting down"]);
    refused(fake.send("POST", "/plugins/row-filter/enable", &[], ""), 409, &["the gateway is shutting down"]);
}
