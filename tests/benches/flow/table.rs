//! The output: numbers with separators, medians and percentiles, one line for each figure.

use std::time::Duration;

use crate::process::Run;

/// A heading.
pub fn heading(text: &str) {
    println!("\n{text}");
}

/// A line: what was measured, and its figures.
pub fn line(name: &str, figures: &[String]) {
    println!("  {name:<24} {}", figures.join("   "));
}

/// A rate such as `12,500 events/s`.
pub fn rate(per_second: f64, unit: &str) -> String {
    format!("{:>9} {unit}/s", thousands(per_second))
}

/// The CPU time per event of a run.
pub fn cpu(run: &Run, events: u64) -> String {
    format!("{:>5.1} CPU µs per event", run.cpu / events as f64 * 1e6)
}

/// The peak memory of a run.
pub fn peak(run: &Run) -> String {
    format!("{:>4.0} MiB peak", run.peak_mib)
}

/// A number without decimals, with separators.
pub fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its unit: `1 partition`, `4 partitions`.
pub fn plural(n: u64, unit: &str) -> String {
    format!("{n} {unit}{}", if n == 1 { "" } else { "s" })
}

/// The one in the middle by this figure.
pub fn median<T>(mut of: Vec<T>, figure: impl Fn(&T) -> f64) -> Option<T> {
    of.sort_by(|a, b| figure(a).total_cmp(&figure(b)));
    let middle = of.len() / 2;
    of.into_iter().nth(middle)
}

/// Median, 99th and 99.9th percentile and maximum of these times.
pub fn percentiles(mut times: Vec<Duration>) -> Vec<String> {
    times.sort();
    let at = |share: f64| {
        let place = (share * times.len() as f64).ceil() as usize;
        times.get(place.max(1) - 1).copied().unwrap_or_default()
    };
    let text = |name: &str, time: Duration| format!("{name} {}", milliseconds(time));
    vec![text("p50", at(0.5)), text("p99", at(0.99)), text("p99.9", at(0.999)), text("max", at(1.0))]
}

/// A time in milliseconds.
pub fn milliseconds(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 100.0 { format!("{ms:.1} ms") } else { format!("{} ms", thousands(ms)) }
}
