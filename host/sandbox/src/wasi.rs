//! A stub of WASI, for components whose toolchains always import it.
//!
//! It has no files, arguments, environment and network, a stopped clock, and the same random numbers in every call. Standard
//! output and standard error go to the log. A plugin remains a function of its input, and no call can wait: sleeping
//! returns at once, because waiting in the host would not count towards the time limits.
//!
//! The stub serves all imports of `wasi:` in any 0.2 version. Functions that a well-behaved guest may call are listed below.
//! Every other function fails: with its own error code if its type has one, else with a trap. This is enough because files
//! and sockets need a handle that no function returns.

mod state;

pub(crate) use state::{Inert, Refused, STDERR, STDOUT, WasiState};

use state::{OTHER, SEED};
use wasmtime::StoreContextMut;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, Linker, LinkerInstance, Resource, ResourceType, Type, Val};

use crate::bindings::wasi::{Datetime, StreamError};
use crate::host_state::HostState;

/// The prefix of the names of WASI's interfaces.
pub(crate) const WASI: &str = "wasi:";

/// Bytes that an output offers to accept at once; more are accepted too.
const OUTPUT_ROOM: u64 = 64 << 10;
/// Most random bytes per call. Seeds are short; this bounds the host's memory.
const RANDOM_BYTES: u64 = 64 << 10;
/// The error codes in WASI's interfaces that mean "not available".
const REFUSALS: [&str; 5] = ["access", "access-denied", "not-permitted", "not-supported", "unsupported"];

/// Defines all WASI imports of the component.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>, component: &Component) -> wasmtime::Result<()> {
    let engine = linker.engine().clone();
    for (import, item) in component.component_type().imports(&engine) {
        let Some(interface) = import.strip_prefix(WASI) else { continue };
        let interface = interface.split('@').next().unwrap_or_default();
        let ComponentItem::ComponentInstance(instance) = item.ty else {
            wasmtime::bail!("`{import}` is not imported as an interface");
        };
        let mut definitions = linker.instance(import)?;
        for (name, item) in instance.exports(&engine) {
            match item.ty {
                ComponentItem::Resource(_) => {
                    definitions.resource(name, ResourceType::host::<Inert>(), |_, _| Ok(()))?;
                }
                ComponentItem::ComponentFunc(_) => define(&mut definitions, import, interface, name)?,
                _ => {}
            }
        }
    }
    Ok(())
}

type State<'a> = StoreContextMut<'a, HostState>;
type Handle = Resource<Inert>;
type Streamed<T> = (Result<T, StreamError>,);

fn define(to: &mut LinkerInstance<'_, HostState>, import: &str, interface: &str, name: &str) -> wasmtime::Result<()> {
    let full_name = format!("{import}.{name}");
    match (interface, name) {
        ("cli/environment", "get-environment") => to.func_wrap(name, |_, ()| Ok((Vec::<(String, String)>::new(),))),
        ("cli/environment", "get-arguments") => to.func_wrap(name, |_, ()| Ok((Vec::<String>::new(),))),
        ("cli/environment", "initial-cwd") => to.func_wrap(name, |_, ()| Ok((None::<String>,))),
        ("cli/stdin", _) => handle(to, name, OTHER),
        ("cli/stdout", _) => handle(to, name, STDOUT),
        ("cli/stderr", _) => handle(to, name, STDERR),
        ("sockets/instance-network", _) => handle(to, name, OTHER),
        ("cli/terminal-stdin" | "cli/terminal-stdout" | "cli/terminal-stderr", _) => {
            to.func_wrap(name, |_, ()| Ok((None::<Handle>,)))
        }
        ("filesystem/preopens", "get-directories") => to.func_wrap(name, |_, ()| Ok((Vec::<(Handle, String)>::new(),))),
        ("clocks/wall-clock", "now") => to.func_wrap(name, |_, ()| Ok((Datetime { seconds: 0, nanoseconds: 0 },))),
        ("clocks/wall-clock", "resolution") => {
            to.func_wrap(name, |_, ()| Ok((Datetime { seconds: 1, nanoseconds: 0 },)))
        }
        ("clocks/monotonic-clock", "now") => to.func_wrap(name, |_, ()| Ok((0_u64,))),
        ("clocks/monotonic-clock", "resolution") => to.func_wrap(name, |_, ()| Ok((1_u64,))),
        ("clocks/monotonic-clock", "subscribe-instant" | "subscribe-duration") => {
            to.func_wrap(name, |_, _: (u64,)| Ok((Handle::new_own(OTHER),)))
        }
        // Everything is always ready, so that nothing waits.
        ("io/poll", "[method]pollable.ready") => to.func_wrap(name, |_, _: (Handle,)| Ok((true,))),
        ("io/poll", "[method]pollable.block") => to.func_wrap(name, |_, _: (Handle,)| Ok(())),
        ("io/poll", "poll") => {
            to.func_wrap(name, |_, (handles,): (Vec<Handle>,)| Ok(((0..handles.len() as u32).collect::<Vec<u32>>(),)))
        }
        ("random/random" | "random/insecure", "get-random-bytes" | "get-insecure-random-bytes") => {
            to.func_wrap(name, move |state, (n,): (u64,)| Ok((random_bytes(state, n, &full_name)?,)))
        }
        ("random/random" | "random/insecure", "get-random-u64" | "get-insecure-random-u64") => {
            to.func_wrap(name, |mut state: State<'_>, ()| Ok((state.data_mut().wasi.random(),)))
        }
        ("random/insecure-seed", "insecure-seed") => to.func_wrap(name, |_, ()| Ok(((SEED, !SEED),))),
        ("io/streams", _) => define_stream(to, name, full_name),
        _ => {
            to.func_new(name, move |state, ty, parameters, results| refuse(state, &ty, parameters, results, &full_name))
        }
    }
}

fn define_stream(to: &mut LinkerInstance<'_, HostState>, name: &str, full_name: String) -> wasmtime::Result<()> {
    match name {
        "[method]input-stream.read" | "[method]input-stream.blocking-read" => to
            .func_wrap(name, |_, _: (Handle, u64)| -> wasmtime::Result<Streamed<Vec<u8>>> {
                Ok((Err(StreamError::Closed),))
            }),
        "[method]input-stream.skip" | "[method]input-stream.blocking-skip" => to
            .func_wrap(name, |_, _: (Handle, u64)| -> wasmtime::Result<Streamed<u64>> {
                Ok((Err(StreamError::Closed),))
            }),
        "[method]input-stream.subscribe" | "[method]output-stream.subscribe" => {
            to.func_wrap(name, |_, _: (Handle,)| Ok((Handle::new_own(OTHER),)))
        }
        "[method]output-stream.check-write" => {
            to.func_wrap(name, |_, _: (Handle,)| -> wasmtime::Result<Streamed<u64>> { Ok((Ok(OUTPUT_ROOM),)) })
        }
        "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush" => to.func_wrap(
            name,
            |mut state: State<'_>, (output, bytes): (Handle, Vec<u8>)| -> wasmtime::Result<Streamed<()>> {
                state.data_mut().write(output.rep(), &bytes);
                Ok((Ok(()),))
            },
        ),
        "[method]output-stream.flush" | "[method]output-stream.blocking-flush" => {
            to.func_wrap(name, |_, _: (Handle,)| -> wasmtime::Result<Streamed<()>> { Ok((Ok(()),)) })
        }
        _ => {
            to.func_new(name, move |state, ty, parameters, results| refuse(state, &ty, parameters, results, &full_name))
        }
    }
}

fn handle(to: &mut LinkerInstance<'_, HostState>, name: &str, number: u32) -> wasmtime::Result<()> {
    to.func_wrap(name, move |_, ()| Ok((Handle::new_own(number),)))
}

fn random_bytes(mut state: State<'_>, n: u64, function: &str) -> wasmtime::Result<Vec<u8>> {
    if n > RANDOM_BYTES {
        return Err(Refused(function.to_string(), "it asked for too many random bytes").into());
    }
    let wasi = &mut state.data_mut().wasi;
    let mut bytes = Vec::with_capacity(n as usize + 8);
    while (bytes.len() as u64) < n {
        bytes.extend(wasi.random().to_le_bytes());
    }
    bytes.truncate(n as usize);
    Ok(bytes)
}

/// Returns the function's error for "not available", or traps if it has none.
fn refuse(
    mut state: State<'_>,
    ty: &ComponentFunc,
    parameters: &[Val],
    results: &mut [Val],
    function: &str,
) -> wasmtime::Result<()> {
    for parameter in parameters {
        if let Val::Resource(resource) = parameter {
            resource.resource_drop(&mut state)?;
        }
    }
    if let (Some(Type::Result(ty)), [result]) = (ty.results().next(), results)
        && let Some(Type::Enum(errors)) = ty.err()
        && let Some(refusal) = REFUSALS.into_iter().find(|refusal| errors.names().any(|name| name == *refusal))
    {
        *result = Val::Result(Err(Some(Box::new(Val::Enum(refusal.to_string())))));
        return Ok(());
    }
    Err(Refused(function.to_string(), "this function is not supported").into())
}
