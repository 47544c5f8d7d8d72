//! What a process has cost so far, as `/proc` tells it.

use std::{fs, time::Duration};

use anyhow::Context;

/// Costs of one or several processes, all threads included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cost {
    /// In user and in kernel mode together. Counted in ticks, as a rule of 10 ms.
    pub(crate) cpu: Duration,
    /// Bytes of memory that are resident now.
    pub(crate) rss: u64,
    /// Bytes of memory that were resident at most, each process on its own, since it began.
    pub(crate) rss_peak: u64,
}

impl Cost {
    /// Of all these processes together.
    ///
    /// # Errors
    /// When one of them is not there.
    pub(crate) fn of(pids: &[u32]) -> anyhow::Result<Self> {
        let mut sum = Self::default();
        for pid in pids {
            let cost = Self::of_one(*pid).with_context(|| format!("look at process {pid}"))?;
            sum.cpu += cost.cpu;
            sum.rss += cost.rss;
            sum.rss_peak += cost.rss_peak;
        }
        Ok(sum)
    }

    fn of_one(pid: u32) -> anyhow::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let ticks = ticks(&stat).context("read its CPU time")?;
        let rate = rustix::param::clock_ticks_per_second();
        Ok(Self {
            cpu: Duration::from_millis(ticks * 1000 / rate),
            rss: kilobytes(&status, "VmRSS:").unwrap_or(0) * 1024,
            rss_peak: kilobytes(&status, "VmHWM:").unwrap_or(0) * 1024,
        })
    }
}

/// `utime` and `stime`, the 14th and 15th field. The second, the name, may hold blanks and parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194304 900 0 0 0 250 50 7 8 20 0 9 0 100";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("17 (x) S 1"), None);
    }

    #[test]
    fn memory_is_read_by_name() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!((kilobytes(status, "VmRSS:"), kilobytes(status, "VmHWM:")), (Some(1024), Some(2048)));
        assert_eq!(kilobytes(status, "VmSwap:"), None);
    }

    #[test]
    fn this_process_is_there_and_costs_memory() {
        let cost = Cost::of(&[std::process::id()]).unwrap();
        assert!(0 < cost.rss && cost.rss <= cost.rss_peak);
        assert!(Cost::of(&[u32::MAX]).is_err());
    }
}
