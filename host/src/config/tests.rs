//! Valid configurations, the errors of invalid ones, and the keys in which two configurations differ.

use std::time::Duration;

use super::*;
use rowmill_engine::TruncatePolicy;
use rowmill_engine::version::VersionStrategy;

const MINIMAL: &str = "[source]\nkind = \"file\"\npath = \"x.ndjson\"\n[sink]\nkind = \"null\"\n";

#[track_caller]
fn invalid(text: &str, expected: &str) {
    let error = read_text(text, "rowmill.toml", &Overrides::default()).expect_err("an error").to_string();
    assert!(error.contains(expected), "{error}\ndoes not contain\n{expected}");
}

fn valid(text: &str) -> Config {
    read_text(text, "rowmill.toml", &Overrides::default()).expect("a configuration")
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one() {
    invalid(
        "[sink]\nkind = \"null\"\nlingr = \"1s\"\n",
        "rowmill.toml line 3: unknown key `lingr`; did you mean `linger`?",
    );
    invalid("[sonk]\n", "unknown key `sonk`; did you mean `sink`?");
    invalid(&format!("{MINIMAL}[[routes]]\ntable = \"a\"\nxyzzy = 1\n"), "the keys here are table, index");
}

#[test]
fn errors_say_what_to_write_instead() {
    invalid(
        "[source]\nkind = \"kafak\"\n",
        "source.kind = \"kafak\" is not one of kafka, file; did you mean \"kafka\"?",
    );
    invalid("[source]\nkind = \"kafka\"\nbrokers = \"a:1\"\n", "needs source.topics");
    invalid(&MINIMAL.replace("null", "elasticsearch"), "needs sink.urls");
    invalid(&format!("{MINIMAL}linger = \"fast\"\n"), "write it like \"200ms\"");
    invalid(&format!("{MINIMAL}bulk_bytes = \"5 furlongs\"\n"), "is not a size");
    invalid(&format!("{MINIMAL}[[routes]]\ntable = \"t\"\nindex = \"Trade\"\n"), "is not a valid index name");
    invalid(&format!("{MINIMAL}[[routes]]\ntable = \"t\"\nid = \"id\"\n"), "contains no column");
    invalid(&format!("{MINIMAL}[tables.\"shop.trade\"]\nid = \"bigint unsinged\"\n"), "shop.trade");
    invalid("[source\n", "rowmill.toml line 1");
    invalid(
        "[source]\nkind = \"kafka\"\nbrokers = \"a\"\ntopics = [\"t\"]\n[source.properties]\n\"group.id\" = \"x\"\n",
        "set by Rowmill",
    );
    let with_property =
        |line: &str| format!("[source]\nbrokers = \"a\"\ntopics = [\"t\"]\n{line}\n[sink]\nkind = \"null\"\n");
    let assignor = "properties = { \"partition.assignment.strategy\" = \"range\" }";
    invalid(&with_property(assignor), "needs cooperative-sticky");
    invalid(&with_property("properties = { \"group.instance.id\" = \"x\" }"), "use source.instance");
    invalid(
        &with_property("instance = \"x\"\nproperties = { \"group.protocol\" = \"consumer\" }"),
        "source.instance cannot be used",
    );
    invalid(&with_property("missing_records = \"skip\""), "is not one of stop, continue");
}

#[test]
fn a_full_example_is_valid() {
    let config = valid(
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
    let route = rowmill_engine::route_for(&config.routes, "shop", "trade");
    assert_eq!(route.version, VersionStrategy::Column("updated_at".into()));
    assert_eq!(route.truncate, TruncatePolicy::Apply);
    assert_eq!(rowmill_engine::route_for(&config.routes, "shop", "other").index, None);
    let DeadLetterConfig::Kafka(KafkaLetters { brokers, properties, .. }) = &config.dead_letter else {
        panic!("{:?}", config.dead_letter)
    };
    assert_eq!(brokers, "127.0.0.1:9092");
    assert_eq!(properties["security.protocol"], "SASL_SSL");
}

#[test]
fn dead_letters_that_are_too_large_for_a_topic_have_a_file_beside_the_state() {
    let letters = |section: &str, more: &str| {
        let text = format!("{MINIMAL}[dead_letter]\n{section}\n{more}");
        valid(&text).dead_letter
    };
    let kafka = "kind = \"kafka\"\ntopic = \"t\"\nbrokers = \"b:9092\"";
    let path = |config: &DeadLetterConfig| match config {
        DeadLetterConfig::Kafka(KafkaLetters { path, rotate_at, .. })
        | DeadLetterConfig::File { path, rotate_at, .. } => (path.display().to_string(), *rotate_at),
    };
    let default = Some(256 << 20);
    assert_eq!(path(&letters("", "")), ("dead-letter.ndjson".into(), default));
    assert_eq!(path(&letters("rotate_at = \"1MiB\"", "")).1, Some(1 << 20));
    assert_eq!(path(&letters("rotate_at = 0", "")).1, None);
    assert_eq!(path(&letters(kafka, "")), (".rowmill/dead-letter-too-large.ndjson".into(), default));
    assert_eq!(path(&letters(kafka, "[plugins]\nstate = \"s\"\n")).0, "s/dead-letter-too-large.ndjson");
    assert_eq!(path(&letters(kafka, "[plugins]\nstate = \"\"\n")).0, "dead-letter-too-large.ndjson");
    assert_eq!(path(&letters(&format!("{kafka}\npath = \"x\""), "")).0, "x");
}

#[test]
fn the_command_line_overrides_the_file() {
    let overrides = Overrides {
        plugins: Some("other".into()),
        set: vec!["sink.kind=embedded".into(), "sink.in_flight=4".into(), "source.path=-".into()],
    };
    let config = read_text(MINIMAL, "rowmill.toml", &overrides).expect("a configuration");
    assert!(matches!(config.sink, SinkConfig::Embedded { bulk: BulkConfig { in_flight: 4, .. }, .. }));
    assert!(matches!(&config.source, SourceConfig::File { path } if path.as_os_str() == "-"));
    assert_eq!(config.plugins.dir.as_deref(), Some(Path::new("other")));
}

#[test]
fn environment_variables_are_replaced_and_secrets_never_printed() {
    let text = "[source]\nkind = \"file\"\npath = \"${ROWMILL_NO_SUCH:-x}\"\n# ${ROWMILL_COMMENT}\n[sink]\nurls = [\"http://h\"]\nusername = \"u\"\npassword = \"hunter2\"\n";
    let config = valid(text);
    assert!(matches!(&config.source, SourceConfig::File { path } if path.as_os_str() == "x"));
    assert!(!format!("{config:?}").contains("hunter2"));
    invalid("[source]\npath = \"${ROWMILL_NO_SUCH}\"\n", "line 2: the environment variable ROWMILL_NO_SUCH is not set");
}

#[test]
fn sizes() {
    assert_eq!(parse_size("5MiB"), Some(5 << 20));
    assert_eq!(parse_size("512 KB"), Some(512_000));
    assert_eq!(parse_size("17"), Some(17));
    assert_eq!(parse_size("1.5MB"), Some(1_500_000));
    assert_eq!(parse_size("5 apples"), None);
}

#[test]
fn plugin_publication_has_defaults() {
    let config = valid(&format!("{MINIMAL}[plugins]\ndir = \"plugins\"\n"));
    let plugins = &config.plugins;
    assert_eq!(plugins.state.as_deref(), Some(Path::new(".rowmill")));
    assert_eq!(plugins.watch, WatchConfig::default());
    assert_eq!(plugins.trust, TrustConfig::default());
    assert_eq!(plugins.compile, CompileConfig::default());
    assert_eq!(plugins.rollout, Rollout::default());
    assert_eq!(plugins.probation, ProbationConfig::default());
    let without = valid(MINIMAL);
    assert_eq!(without.plugins.state, None);
    let nothing_saved = valid(&format!("{MINIMAL}[plugins]\ndir = \"plugins\"\nstate = \"\"\n"));
    assert_eq!(nothing_saved.plugins.state, None);
    // A folder from the command line counts like one from the file.
    let overrides = Overrides { plugins: Some("p".into()), set: Vec::new() };
    let named = read_text(MINIMAL, "rowmill.toml", &overrides).expect("a configuration");
    assert_eq!(named.plugins.state.as_deref(), Some(Path::new(".rowmill")));
}

#[test]
fn plugin_publication_can_be_configured() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    std::fs::write(&key, "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n").unwrap();
    let hash = "0123456789abcdef".repeat(4);
    let config = valid(&format!(
        r#"{MINIMAL}
        [plugins]
        dir = "plugins"
        state = "/var/lib/rowmill"
        events = false
        poll = "500ms"
        hashes = ["{hash}", "sha256:{}"]
        trusted_keys = [{key:?}]
        compile_memory = "2GiB"
        compile_time = "2m"
        [plugins.rollout]
        mode = "shadow"
        rows = 5000
        max_changed = 0.5
        [plugins.rollouts.trade-document]
        mode = "canary"
        share = 1
        publish = false
        [plugins.rollouts.row-filter]
        [plugins.probation]
        window = "5m"
        failed_rows = 1
        failed_share = 0
        row_time = "200us"
        "#,
        hash.to_uppercase()
    ));
    let plugins = &config.plugins;
    assert_eq!(plugins.state.as_deref(), Some(Path::new("/var/lib/rowmill")));
    assert_eq!(plugins.watch, WatchConfig { events: false, poll: Duration::from_millis(500) });
    assert_eq!(plugins.trust, TrustConfig { hashes: vec![hash.clone(), hash], keys: vec![key] });
    assert_eq!(plugins.compile, CompileConfig { program: None, memory: 2 << 30, time: Duration::from_secs(120) });
    let shadow = Rollout { mode: RolloutMode::Shadow, rows: 5000, share: 0.1, publish: true, max_changed: 0.5 };
    assert_eq!(plugins.rollout, shadow);
    assert_eq!(plugins.rollouts["row-filter"], shadow);
    let canary = Rollout { mode: RolloutMode::Canary, share: 1.0, publish: false, ..shadow };
    assert_eq!(plugins.rollouts["trade-document"], canary);
    assert_eq!(
        plugins.probation,
        ProbationConfig {
            window: Duration::from_secs(300),
            failed_rows: 1,
            failed_share: 0.0,
            row_time: Duration::from_micros(200)
        }
    );
}

#[test]
fn invalid_plugin_publication_says_what_to_write() {
    let plugins = |keys: &str| format!("{MINIMAL}[plugins]\ndir = \"plugins\"\n{keys}\n");
    invalid(&plugins("poll = \"0s\""), "plugins.poll must be at least 10ms");
    invalid(&plugins("poll = \"often\""), "plugins.poll = \"often\" is not a duration");
    invalid(
        &plugins("hashes = [\"abc\"]"),
        "plugins.hashes: \"abc\" is not a SHA-256 hash; write the 64 hexadecimal digits",
    );
    invalid(&plugins("trusted_keys = [\"/no/such.pem\"]"), "plugins.trusted_keys: cannot read /no/such.pem");
    invalid(
        &plugins("compile_memory = \"1MiB\""),
        "plugins.compile_memory must be at least 64MiB; the default is \"512MiB\"",
    );
    invalid(&plugins("compile_time = \"0s\""), "plugins.compile_time must be more than 0");
    invalid(&plugins("[plugins.rollout]\nmode = \"shadwo\""), "line 9: unknown variant `shadwo`, expected one of");
    invalid(&plugins("[plugins.rollout]\nrows = 0"), "plugins.rollout.rows = 0 is a trial without rows");
    invalid(&plugins("[plugins.rollout]\nshare = 0.0"), "plugins.rollout.share = 0 must be more than 0");
    invalid(&plugins("[plugins.rollouts.a]\nshare = 10"), "plugins.rollouts.a.share = 10 must be more than 0");
    invalid(&plugins("[plugins.rollout]\nmax_changed = -0.1"), "plugins.rollout.max_changed = -0.1 must be from 0");
    invalid(&plugins("[plugins.rollout]\nshare = nan"), "plugins.rollout.share = NaN");
    invalid(&plugins("[plugins.rollout]\nshrae = 0.1"), "unknown key `shrae`; did you mean `share`?");
    invalid(&plugins("[plugins.probation]\nfailed_rows = 0"), "to disable probation, write window = \"0s\"");
    invalid(
        &plugins("[plugins.probation]\nfailed_share = 2"),
        "plugins.probation.failed_share = 2 must be from 0 to 1",
    );
    invalid(&plugins("[plugins.probation]\nrow_time = \"0s\""), "plugins.probation.row_time must be more than 0");

    let folder = tempfile::tempdir().unwrap();
    let private = folder.path().join("private.pem");
    std::fs::write(&private, "-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n").unwrap();
    invalid(
        &plugins(&format!("trusted_keys = [{private:?}]")),
        "does not contain a public key; create one with `openssl pkey",
    );
}

#[test]
fn http_listens_on_loopback_if_there_are_plugins() {
    let address = |text: &str| valid(&format!("{MINIMAL}{text}")).http_listen().map(|address| address.to_string());
    assert_eq!(address(""), None);
    assert_eq!(address("[plugins]\nstate = \"x\"\n"), None);
    assert_eq!(address("[plugins]\ndir = \"p\"\n").as_deref(), Some("127.0.0.1:0"));
    assert_eq!(address("[plugins]\ndir = \"p\"\nstate = \"\"\n"), None);
    let listen = "[http]\nlisten = \"0.0.0.0:8088\"\n";
    assert_eq!(address(listen).as_deref(), Some("0.0.0.0:8088"));
    assert_eq!(address(&format!("[plugins]\ndir = \"p\"\nstate = \"\"\n{listen}")).as_deref(), Some("0.0.0.0:8088"));
}

#[test]
fn the_http_token_is_one_word_and_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "s3cret-of-http\n").unwrap();
    let config = valid(&format!("{MINIMAL}[http]\ntoken_file = {file:?}\n"));
    assert_eq!(config.http.token, Some(Secret("s3cret-of-http".into())));
    assert!(!format!("{config:?}").contains("s3cret"));
    invalid(
        &format!("{MINIMAL}[http]\ntoken = \"a\"\ntoken_file = {file:?}\n"),
        "set either http.token or http.token_file, not both",
    );
    invalid(&format!("{MINIMAL}[http]\ntoken = \"\"\n"), "must be one word of visible ASCII characters");
    invalid(&format!("{MINIMAL}[http]\ntoken = \"two words\"\n"), "openssl rand -hex 32");
    invalid(&format!("{MINIMAL}[http]\ntoken_file = \"/no/such\"\n"), "http.token_file: cannot read /no/such");
}

#[test]
fn waits_before_a_retry() {
    let bulk = |text: &str| match valid(&format!("{}{text}", MINIMAL.replace("null", "embedded"))).sink {
        SinkConfig::Embedded { bulk, .. } => (bulk.retry_wait, bulk.retry_wait_max),
        other => panic!("{other:?}"),
    };
    assert_eq!(bulk(""), (Duration::from_millis(50), Duration::from_secs(15)));
    assert_eq!(
        bulk("retry_wait = \"1s\"\nretry_wait_max = \"1s\"\n"),
        (Duration::from_secs(1), Duration::from_secs(1))
    );
    invalid(&format!("{MINIMAL}retry_wait = \"0s\"\n"), "sink.retry_wait must be more than 0");
    invalid(
        &format!("{MINIMAL}retry_wait = \"20s\"\n"),
        "sink.retry_wait_max (15s) must be at least sink.retry_wait (20s)",
    );
}

const KAFKA: &str = "[source]\nbrokers = \"a:1\"\ntopics = [\"t\"]\n";
const FILE: &str = "[source]\nkind = \"file\"\npath = \"x\"\n";
const ELASTICSEARCH: &str = "[sink]\nurls = [\"http://a:9200\"]\n";
const EMBEDDED: &str = "[sink]\nkind = \"embedded\"\n";

/// Checks in which keys two texts differ: those that are live, and those that need a restart.
#[track_caller]
fn differs(old: &str, new: &str, live: &[&str], restart: &[&str]) {
    let (is_live, needs_restart): (Vec<String>, Vec<String>) =
        differing_keys(&valid(old), &valid(new)).into_iter().partition(|key| is_live(key));
    let sorted = |keys: &[&str]| {
        let mut keys: Vec<String> = keys.iter().map(|key| key.to_string()).collect();
        keys.sort();
        keys
    };
    assert_eq!((is_live, needs_restart), (sorted(live), sorted(restart)));
}

#[test]
fn another_spelling_of_the_same_value_is_not_a_difference() {
    let old = format!("{KAFKA}{ELASTICSEARCH}");
    let new = format!(
        "# The same.\n{ELASTICSEARCH}linger = \"200ms\"\nretry_wait = \"50ms\"\n[limits]\nplugin_file = \"64MiB\"\n{KAFKA}group = \"rowmill\"\n"
    );
    differs(&old, &new, &[], &[]);
}

#[test]
fn plugins_routes_batches_and_retries_are_live() {
    let old =
        format!("{KAFKA}{ELASTICSEARCH}[plugins]\ndir = \"p\"\n[plugins.settings.a]\nx = 1\n[plugins.settings.b]\n");
    let new = format!(
        "{KAFKA}{ELASTICSEARCH}bulk_bytes = \"1MiB\"\nbulk_documents = 5\nlinger = \"1ms\"\nin_flight = 5\ntimeout = \"1s\"\nretry_wait = \"1ms\"\nretry_wait_max = \"1s\"\ncreate_indices = false\non_index_error = \"pause\"\n\
         [plugins]\ndir = \"p\"\norder = [\"b\"]\ndisabled = [\"c\"]\nwasi = [\"a\"]\nstamp = true\nhashes = [\"{}\"]\ncompile_memory = \"2GiB\"\ncompile_time = \"1s\"\n\
         [plugins.settings.a]\nx = 2\n[plugins.settings.b]\n[plugins.settings.c]\n[plugins.rollout]\nmode = \"shadow\"\n[plugins.rollouts.a]\nrows = 5\n[plugins.probation]\nfailed_rows = 9\n\
         [[routes]]\ntable = \"t\"\nindex = \"i\"\n",
        "a".repeat(64)
    );
    let live = [
        "plugins.order",
        "plugins.disabled",
        "plugins.wasi",
        "plugins.stamp",
        "plugins.rollout",
        "plugins.probation",
        "plugins.settings.a",
        "plugins.settings.c",
        "plugins.rollouts.a",
        "plugins.hashes",
        "plugins.compile_memory",
        "plugins.compile_time",
        "routes",
        "sink.bulk_bytes",
        "sink.bulk_documents",
        "sink.linger",
        "sink.in_flight",
        "sink.timeout",
        "sink.retry_wait",
        "sink.retry_wait_max",
        "sink.create_indices",
        "sink.on_index_error",
    ];
    differs(&old, &new, &live, &[]);
    // And back, by omitting the keys.
    differs(&new, &old, &live, &[]);
}

#[test]
fn everything_else_needs_a_restart() {
    let old = format!("{KAFKA}{ELASTICSEARCH}");
    let new = "[source]\nbrokers = \"b:1\"\ntopics = [\"u\"]\ngroup = \"g\"\nstart = \"latest\"\ninstance = \"i\"\nmissing_records = \"continue\"\nformat = \"canal\"\nmax_message_bytes = 5\n\
         [source.properties]\n\"client.id\" = \"x\"\n[tables.t]\nc = \"int\"\n\
         [sink]\nurls = [\"http://b:9200\"]\nusername = \"u\"\npassword = \"p\"\nca = \"f\"\ngzip = true\nlinger = \"1s\"\n\
         [plugins]\ndir = \"p\"\nstate = \"s\"\nevents = false\npoll = \"1s\"\n\
         [dead_letter]\npath = \"l\"\nrotate_at = 1\nmax_per_minute = 1\n[http]\nlisten = \"127.0.0.1:1\"\ntoken = \"t\"\n\
         [pipeline]\nworkers = 200\nbatch_rows = 1\nbatch_bytes = 1\nbytes_in_flight = 1\ncommit_interval = \"9s\"\nshutdown_timeout = \"9s\"\n\
         [limits]\nplugin_memory = 1\nplugin_file = 1\nplugin_batch_time = \"9s\"\nplugin_image_time = \"9s\"\nplugin_setup_time = \"9s\"\n";
    let restart = [
        "source.brokers",
        "source.topics",
        "source.group",
        "source.start",
        "source.instance",
        "source.missing_records",
        "source.properties",
        "source.format",
        "tables",
        "source.max_message_bytes",
        "plugins.dir",
        "plugins.state",
        "plugins.events",
        "plugins.poll",
        "sink.urls",
        "sink.username, sink.password or sink.api_key",
        "sink.ca",
        "sink.gzip",
        "dead_letter.path",
        "dead_letter.rotate_at",
        "dead_letter.max_per_minute",
        "http.listen",
        "http.token",
        "pipeline.workers",
        "pipeline.batch_rows",
        "pipeline.batch_bytes",
        "pipeline.bytes_in_flight",
        "pipeline.commit_interval",
        "pipeline.shutdown_timeout",
        "limits.plugin_file",
        "limits.plugin_memory",
        "limits.plugin_setup_time",
        "limits.plugin_batch_time",
        "limits.plugin_image_time",
    ];
    differs(&old, new, &["sink.linger"], &restart);
}

#[test]
fn if_the_kind_differs_only_the_kind_is_reported() {
    differs(
        &format!("{KAFKA}{ELASTICSEARCH}"),
        &format!("{FILE}{EMBEDDED}linger = \"1s\"\n"),
        &[],
        &["source.kind", "sink.kind"],
    );
    let file = format!("{FILE}{EMBEDDED}");
    let other = file.replace("\"x\"", "\"y\"") + "listen = \"127.0.0.1:99\"\n";
    differs(&file, &other, &[], &["source.path", "sink.listen"]);
    let letters =
        |brokers: &str| format!("{file}[dead_letter]\nkind = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"t\"\n");
    differs(&file, &letters("a:1"), &[], &["dead_letter.kind"]);
    differs(&letters("a:1"), &letters("b:1"), &[], &["dead_letter.brokers"]);
}
