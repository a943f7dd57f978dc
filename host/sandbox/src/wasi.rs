//! WASI that does nothing, for components whose toolchains import it whether or not the plugin needs it.
//!
//! It gives no files, arguments, environment and network, a clock that stands still, and random numbers that are the
//! same in every call. What is written to standard output and error goes to the log. A plugin stays a function of its
//! input, and no call can wait: a sleep ends at once, for waiting in the host would be beyond the time limits.
//!
//! The answers are given to whatever the component imports of `wasi:`, in any 0.2 version: those that a guest may meet
//! in good order are named below, every other function fails, by its own error code where its type has one, else as a
//! trap. That suffices since files and sockets begin with a handle that nobody can get.

mod state;

pub(crate) use state::{Inert, Refused, STDERR, STDOUT, WasiState};

use state::{OTHER, SEED};
use wasmtime::StoreContextMut;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, Linker, LinkerInstance, Resource, ResourceType, Type, Val};

use crate::bindings::wasi::{Datetime, StreamError};
use crate::host_state::HostState;

/// What the contract calls WASI's interfaces by.
pub(crate) const WASI: &str = "wasi:";

/// Bytes that an output offers to take at once; what exceeds it is taken as well.
const OUTPUT_ROOM: u64 = 64 << 10;
/// Longest list of random bytes. Seeds are short; this only bounds the host's memory.
const RANDOM_BYTES: u64 = 64 << 10;
/// Errors that say that something is not to be had, as WASI's interfaces call them.
const REFUSALS: [&str; 5] = ["access", "access-denied", "not-permitted", "not-supported", "unsupported"];

/// Defines all that the component imports of WASI.
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
        // Everything is always ready, so nothing waits.
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
        return Err(Refused(function.to_string(), "so many random bytes are not given").into());
    }
    let wasi = &mut state.data_mut().wasi;
    let mut bytes = Vec::with_capacity(n as usize + 8);
    while (bytes.len() as u64) < n {
        bytes.extend(wasi.random().to_le_bytes());
    }
    bytes.truncate(n as usize);
    Ok(bytes)
}

/// Answers with the error by which the function says that something is not to be had, or ends the call.
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
    Err(Refused(function.to_string(), "this cannot be answered").into())
}
