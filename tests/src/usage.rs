//! What processes and sockets use, as the kernel counts it: CPU time, memory, dropped datagrams.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// CPU time that each thread of process `id` has used so far, added up by thread name. Threads that have
/// ended are not in it.
///
/// Read from `schedstat` (time on the CPU in ns) where the kernel keeps it, else from `stat` in clock ticks.
#[must_use]
pub fn cpu_by_thread(id: u32) -> BTreeMap<String, Duration> {
    let mut threads = BTreeMap::new();
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{id}/task")) else { return threads };
    for task in tasks.flatten() {
        let Ok(name) = std::fs::read_to_string(task.path().join("comm")) else { continue };
        let Some(cpu) = on_cpu(&task.path()).or_else(|| ticks(&task.path())) else { continue };
        *threads.entry(name.trim_end().to_owned()).or_default() += cpu;
    }
    threads
}

/// CPU time that all threads of process `id` that are running now have used so far.
#[must_use]
pub fn cpu(id: u32) -> Duration {
    cpu_by_thread(id).values().sum()
}

/// See proc(5), `schedstat`; zero means that the kernel does not count.
fn on_cpu(task: &Path) -> Option<Duration> {
    let text = std::fs::read_to_string(task.join("schedstat")).ok()?;
    let nanos = text.split_whitespace().next()?.parse().ok().filter(|nanos| *nanos > 0)?;
    Some(Duration::from_nanos(nanos))
}

/// See proc(5), `stat`: fields 14 and 15, in ticks of 10 ms.
fn ticks(task: &Path) -> Option<Duration> {
    let text = std::fs::read_to_string(task.join("stat")).ok()?;
    // The second field is the name in parentheses, which may hold anything.
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Duration::from_millis(10 * (field(14)? + field(15)?)))
}

/// Resident memory of process `id` in KiB: now, and the most that it ever was.
#[must_use]
pub fn resident_kib(id: u32) -> Option<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let value = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    };
    Some((value("VmRSS:")?, value("VmHWM:")?))
}

/// Datagrams that the kernel dropped because nobody read UDP `port` in time; `None` if nobody listens on it.
#[must_use]
pub fn kernel_drops(port: u16) -> Option<u64> {
    let wanted = format!(":{port:04X}");
    let tables = ["/proc/net/udp", "/proc/net/udp6"];
    let text: String = tables.iter().filter_map(|table| std::fs::read_to_string(table).ok()).collect();
    let sockets = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = sockets.filter(|fields| fields.get(1).is_some_and(|local| local.ends_with(&wanted)));
    ours.filter_map(|fields| fields.last()?.parse::<u64>().ok()).reduce(|a, b| a + b)
}
