//! The shaper, compiled once for all gateways of this process.

use std::sync::{Arc, LazyLock};

use rowmill::pipeline::Pipeline;
use rowmill::transform::Published;
use rowmill_engine::{Chain, ChainPlugin};
use rowmill_sandbox::{Guest, Limits, Plugin, Sandbox};
use rowmill_tests::guests;

/// Higher than the number of any chain that a pipeline publishes itself.
const NUMBER: u64 = 1_000;

static SHAPER: LazyLock<Arc<Plugin>> = LazyLock::new(|| {
    let sandbox = Arc::new(Sandbox::new(Limits::default()).expect("the sandbox starts"));
    let bytes = std::fs::read(guests::shaper().join("shaper.wasm")).expect("the shaper is built");
    Arc::new(Plugin::load(&sandbox, &bytes).expect("the shaper is a plugin"))
});

/// Publishes the shaper with these settings, a JSON object, in a pipeline that does not run yet.
pub fn publish(pipeline: &Pipeline, settings: String) {
    let (description, hash) = (SHAPER.description().clone(), SHAPER.hash().to_string());
    let make = move || match SHAPER.instantiate(&settings) {
        Ok(guest) => Ok(Box::new(guest) as Box<dyn Guest>),
        Err(refusal) => Err(refusal.to_string()),
    };
    let plugin = ChainPlugin::new(description, hash, NUMBER, Box::new(make));
    let published = pipeline.published();
    let routes = published.load().chain.routes.clone();
    published
        .store(Arc::new(Published::new(NUMBER, Chain { plugins: vec![Arc::new(plugin)], routes, ..Chain::default() })));
}
