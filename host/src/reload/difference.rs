//! What two configurations differ in, by key: what can be taken over while rows flow, and what needs a restart.

use std::collections::{BTreeMap, BTreeSet};

use rowmill_rows::DecoderSettings;
use rowmill_sandbox::Limits;

use crate::config::{
    BulkConfig, CompileConfig, Config, DeadLetterConfig, ElasticsearchConfig, HttpConfig, KafkaConfig, PipelineConfig,
    PluginConfig, SinkConfig, SourceConfig, TrustConfig, WatchConfig,
};

/// Keys as they stand in the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// What can be taken over.
    pub live: Vec<String>,
    /// What needs a restart.
    pub restart: Vec<String>,
}

/// Adds the keys of the fields that differ. All fields are named, so that a new one cannot be forgotten.
macro_rules! compare {
    ($keys:expr, $old:expr, $new:expr, $kind:ident { $($field:ident: $key:expr),+ $(, ..$elsewhere:ident)* $(,)? }) => {{
        let $kind { $($field: _,)+ $($elsewhere: _,)* } = $old;
        $(if $old.$field != $new.$field { $keys.push(String::from($key)); })+
    }};
}

impl Difference {
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut difference = Self::default();
        let Config {
            source: _,
            decoder: _,
            format: _,
            plugins: _,
            routes: _,
            sink: _,
            dead_letter: _,
            http: _,
            config_topic: _,
            pipeline: _,
            limits: _,
        } = old;
        difference.source(&old.source, &new.source);
        difference.decoder(&old.decoder, &new.decoder);
        if old.format != new.format {
            difference.restart.push("source.format".into());
        }
        difference.plugins(&old.plugins, &new.plugins);
        if old.routes != new.routes {
            difference.live.push("routes".into());
        }
        difference.sink(&old.sink, &new.sink);
        difference.dead_letter(&old.dead_letter, &new.dead_letter);
        if old.config_topic != new.config_topic {
            difference.restart.push("config_topic".into());
        }
        let keys = &mut difference.restart;
        compare!(keys, old.http, new.http, HttpConfig { listen: "http.listen", token: "http.token" });
        compare!(
            keys,
            old.pipeline,
            new.pipeline,
            PipelineConfig {
                workers: "pipeline.workers",
                batch_rows: "pipeline.batch_rows",
                batch_bytes: "pipeline.batch_bytes",
                bytes_in_flight: "pipeline.bytes_in_flight",
                commit_interval: "pipeline.commit_interval",
                shutdown_timeout: "pipeline.shutdown_timeout",
            }
        );
        compare!(
            keys,
            old.limits,
            new.limits,
            Limits {
                file_bytes: "limits.plugin_file",
                memory_bytes: "limits.plugin_memory",
                setup_time: "limits.plugin_setup_time",
                batch_time: "limits.plugin_batch_time",
                image_time: "limits.plugin_image_time",
                // These have no key of their own.
                table_elements: "limits",
                output_bytes: "limits",
                output_bytes_per_input_byte: "limits",
                documents_per_image: "limits",
                log_messages_per_call: "limits",
            }
        );
        difference
    }

    fn source(&mut self, old: &SourceConfig, new: &SourceConfig) {
        let keys = &mut self.restart;
        match (old, new) {
            (SourceConfig::Kafka(old), SourceConfig::Kafka(new)) => {
                compare!(
                    keys,
                    old,
                    new,
                    KafkaConfig {
                        brokers: "source.brokers",
                        topics: "source.topics",
                        group: "source.group",
                        start: "source.start",
                        properties: "source.properties",
                        partitions: "source.partitions",
                    }
                );
            }
            (SourceConfig::File { path: old }, SourceConfig::File { path: new }) if old != new => {
                keys.push("source.path".into());
            }
            _ if old != new => keys.push("source.kind".into()),
            _ => {}
        }
    }

    fn decoder(&mut self, old: &DecoderSettings, new: &DecoderSettings) {
        compare!(
            self.restart,
            old,
            new,
            DecoderSettings { declared: "tables", max_message_bytes: "source.max_message_bytes" }
        );
    }

    fn plugins(&mut self, old: &PluginConfig, new: &PluginConfig) {
        let PluginConfig {
            dir: _,
            state: _,
            watch: _,
            order: _,
            disabled: _,
            wasi: _,
            stamp: _,
            settings: _,
            trust: _,
            compile: _,
            rollout: _,
            rollouts: _,
            probation: _,
        } = old;
        for (key, differs) in [("plugins.dir", old.dir != new.dir), ("plugins.state", old.state != new.state)] {
            if differs {
                self.restart.push(key.into());
            }
        }
        compare!(self.restart, old.watch, new.watch, WatchConfig { events: "plugins.events", poll: "plugins.poll" });
        for (key, differs) in [
            ("plugins.order", old.order != new.order),
            ("plugins.disabled", old.disabled != new.disabled),
            ("plugins.wasi", old.wasi != new.wasi),
            ("plugins.stamp", old.stamp != new.stamp),
            ("plugins.rollout", old.rollout != new.rollout),
            ("plugins.probation", old.probation != new.probation),
        ] {
            if differs {
                self.live.push(key.into());
            }
        }
        by_name(&mut self.live, "plugins.settings", &old.settings, &new.settings);
        by_name(&mut self.live, "plugins.rollouts", &old.rollouts, &new.rollouts);
        compare!(
            self.live,
            old.trust,
            new.trust,
            TrustConfig { hashes: "plugins.hashes", keys: "plugins.trusted_keys" }
        );
        compare!(
            self.live,
            old.compile,
            new.compile,
            CompileConfig {
                memory: "plugins.compile_memory",
                time: "plugins.compile_time",
                // The command says it, not the file.
                ..program
            }
        );
    }

    fn sink(&mut self, old: &SinkConfig, new: &SinkConfig) {
        match (old, new) {
            (SinkConfig::Elasticsearch(old), SinkConfig::Elasticsearch(new)) => {
                compare!(
                    self.restart,
                    old,
                    new,
                    ElasticsearchConfig {
                        urls: "sink.urls",
                        credentials: "sink.username, sink.password or sink.api_key",
                        ca: "sink.ca",
                        gzip: "sink.gzip",
                        ..bulk
                    }
                );
            }
            (SinkConfig::Embedded { listen: old, .. }, SinkConfig::Embedded { listen: new, .. }) => {
                if old != new {
                    self.restart.push("sink.listen".into());
                }
            }
            (old, new) if old == new => {}
            _ => {
                self.restart.push("sink.kind".into());
                return;
            }
        }
        let (old, new) = (old.bulk(), new.bulk());
        compare!(
            self.live,
            old,
            new,
            BulkConfig {
                bytes: "sink.bulk_bytes",
                documents: "sink.bulk_documents",
                linger: "sink.linger",
                in_flight: "sink.in_flight",
                timeout: "sink.timeout",
                retry_wait: "sink.retry_wait",
                retry_wait_max: "sink.retry_wait_max",
                create_indices: "sink.create_indices",
            }
        );
    }

    fn dead_letter(&mut self, old: &DeadLetterConfig, new: &DeadLetterConfig) {
        let mut restart = |key: &str, differs: bool| {
            if differs {
                self.restart.push(format!("dead_letter.{key}"));
            }
        };
        match (old, new) {
            (DeadLetterConfig::File { path: old }, DeadLetterConfig::File { path: new }) => restart("path", old != new),
            (
                DeadLetterConfig::Kafka { brokers, topic, properties },
                DeadLetterConfig::Kafka { brokers: new_brokers, topic: new_topic, properties: new_properties },
            ) => {
                restart("brokers", brokers != new_brokers);
                restart("topic", topic != new_topic);
                restart("properties", properties != new_properties);
            }
            _ => restart("kind", true),
        }
    }
}

/// Adds `KEY.NAME` for every name of which one has what the other has not.
fn by_name<T: PartialEq>(keys: &mut Vec<String>, key: &str, old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.extend(names.iter().filter(|name| old.get(**name) != new.get(**name)).map(|name| format!("{key}.{name}")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, read_text};

    const KAFKA: &str = "[source]\nbrokers = \"a:1\"\ntopics = [\"t\"]\n";
    const FILE: &str = "[source]\nkind = \"file\"\npath = \"x\"\n";
    const ELASTICSEARCH: &str = "[sink]\nurls = [\"http://a:9200\"]\n";
    const EMBEDDED: &str = "[sink]\nkind = \"embedded\"\n";

    fn parse(text: &str) -> Config {
        read_text(text, "rowmill.toml", &Overrides::default()).expect("a configuration")
    }

    /// What a text differs in from another one.
    #[track_caller]
    fn check(old: &str, new: &str, live: &[&str], restart: &[&str]) {
        let difference = Difference::between(&parse(old), &parse(new));
        assert_eq!(
            (difference.live.iter().map(String::as_str).collect::<Vec<_>>(), &difference.restart[..]),
            (live.to_vec(), &restart.iter().map(|key| key.to_string()).collect::<Vec<_>>()[..])
        );
    }

    #[test]
    fn what_is_written_otherwise_and_means_the_same_is_no_difference() {
        let old = format!("{KAFKA}{ELASTICSEARCH}");
        let new = format!(
            "# The same.\n{ELASTICSEARCH}linger = \"200ms\"\nretry_wait = \"50ms\"\n[limits]\nplugin_file = \"64MiB\"\n{KAFKA}group = \"rowmill\"\n"
        );
        check(&old, &new, &[], &[]);
    }

    #[test]
    fn plugins_routes_batches_and_retries_are_live() {
        let old = format!(
            "{KAFKA}{ELASTICSEARCH}[plugins]\ndir = \"p\"\n[plugins.settings.a]\nx = 1\n[plugins.settings.b]\n"
        );
        let new = format!(
            "{KAFKA}{ELASTICSEARCH}bulk_bytes = \"1MiB\"\nbulk_documents = 5\nlinger = \"1ms\"\nin_flight = 3\ntimeout = \"1s\"\nretry_wait = \"1ms\"\nretry_wait_max = \"1s\"\ncreate_indices = false\n\
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
        ];
        check(&old, &new, &live, &[]);
        // Back again, by leaving it out.
        check(&new, &old, &live, &[]);
    }

    #[test]
    fn everything_else_needs_a_restart() {
        let old = format!("{KAFKA}{ELASTICSEARCH}");
        let new = "[source]\nbrokers = \"b:1\"\ntopics = [\"u\"]\ngroup = \"g\"\nstart = \"latest\"\nformat = \"canal\"\nmax_message_bytes = 5\n\
             [source.properties]\n\"client.id\" = \"x\"\n[tables.t]\nc = \"int\"\n\
             [sink]\nurls = [\"http://b:9200\"]\nusername = \"u\"\npassword = \"p\"\nca = \"f\"\ngzip = true\nlinger = \"1s\"\n\
             [plugins]\ndir = \"p\"\nstate = \"s\"\nevents = false\npoll = \"1s\"\n\
             [dead_letter]\npath = \"l\"\n[http]\nlisten = \"127.0.0.1:1\"\ntoken = \"t\"\n\
             [pipeline]\nworkers = 200\nbatch_rows = 1\nbatch_bytes = 1\nbytes_in_flight = 1\ncommit_interval = \"9s\"\nshutdown_timeout = \"9s\"\n\
             [limits]\nplugin_memory = 1\nplugin_file = 1\nplugin_batch_time = \"9s\"\nplugin_image_time = \"9s\"\nplugin_setup_time = \"9s\"\n";
        let restart = [
            "source.brokers",
            "source.topics",
            "source.group",
            "source.start",
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
        check(&old, new, &["sink.linger"], &restart);
    }

    #[test]
    fn another_kind_is_told_by_the_kind_alone() {
        check(
            &format!("{KAFKA}{ELASTICSEARCH}"),
            &format!("{FILE}{EMBEDDED}linger = \"1s\"\n"),
            &[],
            &["source.kind", "sink.kind"],
        );
        let file = format!("{FILE}{EMBEDDED}");
        let other = file.replace("\"x\"", "\"y\"") + "listen = \"127.0.0.1:99\"\n";
        check(&file, &other, &[], &["source.path", "sink.listen"]);
        let letters =
            |brokers: &str| format!("{file}[dead_letter]\nkind = \"kafka\"\nbrokers = \"{brokers}\"\ntopic = \"t\"\n");
        check(&file, &letters("a:1"), &[], &["dead_letter.kind"]);
        check(&letters("a:1"), &letters("b:1"), &[], &["dead_letter.brokers"]);
    }
}
