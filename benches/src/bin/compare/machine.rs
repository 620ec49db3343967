//! On what it was measured: without this no number means anything.

use std::fs;

use serde::Serialize;

/// The machine, as far as it matters to results.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    /// Congestion control: some pace every packet with a timer, on loopback too.
    pub(crate) tcp: String,
    /// One minute's load average before the first measurement; what else ran disturbs.
    pub(crate) load_before: f64,
    pub(crate) date: String,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, name: &str| {
            text.lines()
                .find(|line| line.starts_with(name))
                .and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
                .unwrap_or_else(|| "unknown".into())
        };
        let memory = value(&read("/proc/meminfo"), "MemTotal");
        let memory_kib: u64 = memory
            .split_whitespace()
            .next()
            .and_then(|it| it.parse().ok())
            .unwrap_or(0);
        let load = read("/proc/loadavg");
        Self {
            processor: value(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: memory_kib.div_ceil(1024 * 1024),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            tcp: read("/proc/sys/net/ipv4/tcp_congestion_control")
                .trim()
                .to_owned(),
            load_before: load
                .split_whitespace()
                .next()
                .and_then(|it| it.parse().ok())
                .unwrap_or(0.0),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        }
    }
}
