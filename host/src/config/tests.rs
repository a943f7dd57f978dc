//! Configurations that are taken, and what is said of those that are not.

use super::*;

const MINIMAL: &str = "[source]\nkind = \"file\"\npath = \"x.ndjson\"\n[sink]\nkind = \"null\"\n";

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = read_text(text, "rowmill.toml", &Overrides::default()).expect_err("a refusal").to_string();
    assert!(error.contains(expected), "{error}\ndoes not contain\n{expected}");
}

fn taken(text: &str) -> Config {
    read_text(text, "rowmill.toml", &Overrides::default()).expect("a configuration")
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
    refused(
        "[sink]\nkind = \"null\"\nlingr = \"1s\"\n",
        "rowmill.toml line 3: unknown key `lingr`; did you mean `linger`?",
    );
    refused("[sonk]\n", "unknown key `sonk`; did you mean `sink`?");
    refused(&format!("{MINIMAL}[[routes]]\ntable = \"a\"\nxyzzy = 1\n"), "the keys here are table, index");
}

#[test]
fn values_are_refused_with_what_to_write_instead() {
    refused(
        "[source]\nkind = \"kafak\"\n",
        "source.kind = \"kafak\" is none of kafka, file, demo; did you mean \"kafka\"?",
    );
    refused("[source]\nkind = \"kafka\"\nbrokers = \"a:1\"\n", "needs source.topics");
    refused(&MINIMAL.replace("null", "elasticsearch"), "needs sink.urls");
    refused(&format!("{MINIMAL}linger = \"fast\"\n"), "write it like \"200ms\"");
    refused(&format!("{MINIMAL}bulk_bytes = \"5 furlongs\"\n"), "is not a size");
    refused(&format!("{MINIMAL}[[routes]]\ntable = \"t\"\nindex = \"Trade\"\n"), "no index name");
    refused(&format!("{MINIMAL}[[routes]]\ntable = \"t\"\nid = \"id\"\n"), "names no column");
    refused(&format!("{MINIMAL}[tables.\"shop.trade\"]\nid = \"bigint unsinged\"\n"), "shop.trade");
    refused("[source\n", "rowmill.toml line 1");
    refused(
        "[source]\nkind = \"kafka\"\nbrokers = \"a\"\ntopics = [\"t\"]\n[source.properties]\n\"group.id\" = \"x\"\n",
        "set by Rowmill",
    );
}

#[test]
fn the_design_s_example_is_taken() {
    let config = taken(
        r#"
        [source]
        kind = "kafka"
        brokers = "127.0.0.1:9092"
        topics = ["shop.trade", "^shop\\..*"]
        group = "rowmill"
        format = "auto"
        start = "2026-11-01T00:00:00Z"
        [source.properties]
        "security.protocol" = "SASL_SSL"
        [plugins]
        dir = "plugins"
        [plugins.settings.trade-document]
        currency = "CNY"
        [[routes]]
        table = "shop.trade"
        index = "trade"
        id = "{id}"
        version = "column:updated_at"
        truncate = "apply"
        delete = "hard"
        [sink]
        kind = "elasticsearch"
        urls = ["http://127.0.0.1:9200"]
        bulk_bytes = "5MiB"
        linger = "200ms"
        in_flight = 2
        [dead_letter]
        kind = "kafka"
        topic = "dead"
        [http]
        listen = "127.0.0.1:8088"
        "#,
    );
    let SourceConfig::Kafka(kafka) = &config.source else { panic!("{:?}", config.source) };
    assert_eq!(kafka.start, Start::At(1_793_491_200_000));
    assert_eq!(config.plugins.settings["trade-document"], r#"{"currency":"CNY"}"#);
    let route = config.route("shop", "trade");
    assert_eq!(route.version, VersionStrategy::Column("updated_at".into()));
    assert_eq!(route.truncate, TruncatePolicy::Apply);
    assert_eq!(config.route("shop", "other").index, None);
    let DeadLetterConfig::Kafka { brokers, properties, .. } = &config.dead_letter else {
        panic!("{:?}", config.dead_letter)
    };
    assert_eq!(brokers, "127.0.0.1:9092");
    assert_eq!(properties["security.protocol"], "SASL_SSL");
}

#[test]
fn the_command_line_wins() {
    let overrides = Overrides {
        plugins: Some("other".into()),
        set: vec!["sink.kind=embedded".into(), "sink.in_flight=4".into(), "source.path=-".into()],
    };
    let config = read_text(MINIMAL, "rowmill.toml", &overrides).expect("a configuration");
    assert!(matches!(config.sink, SinkConfig::Embedded { bulk: BulkConfig { in_flight: 4, .. }, .. }));
    assert!(matches!(&config.source, SourceConfig::File { path } if path.as_os_str() == "-"));
    assert_eq!(config.plugins.dir.as_deref(), Some(std::path::Path::new("other")));
}

#[test]
fn environment_variables_are_put_in_and_secrets_never_printed() {
    let text = "[source]\nkind = \"file\"\npath = \"${ROWMILL_NO_SUCH:-x}\"\n# ${ROWMILL_COMMENT}\n[sink]\nurls = [\"http://h\"]\nusername = \"u\"\npassword = \"hunter2\"\n";
    let config = taken(text);
    assert!(matches!(&config.source, SourceConfig::File { path } if path.as_os_str() == "x"));
    assert!(!format!("{config:?}").contains("hunter2"));
    refused("[source]\npath = \"${ROWMILL_NO_SUCH}\"\n", "line 2: the environment variable ROWMILL_NO_SUCH is not set");
}

#[test]
fn sizes() {
    assert_eq!(parse_size("5MiB"), Some(5 << 20));
    assert_eq!(parse_size("512 KB"), Some(512_000));
    assert_eq!(parse_size("17"), Some(17));
    assert_eq!(parse_size("1.5MB"), None);
}
