//! What goes wrong with cameras, made to happen in the driver, and what the sender must show for it.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use framelock_tests::packets::Packet;
use serde_json::Value;

use crate::child::{deadline, now};
use crate::machine::Board;
use crate::packets::{Aggregator, utc_now};

/// How long a fault may take to show in the sender's counters.
const NOTICED: Duration = Duration::from_secs(90);

/// A fault and its proof.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// Shell command that makes it happen.
    inject: &'static str,
    /// Shell command that ends it; buttons need none.
    clear: Option<&'static str>,
    /// The sender's counter that must grow.
    counter: &'static str,
    /// By how much at least.
    by: u64,
    /// Shell command that must succeed on the board after it all: proof from the driver's side.
    proof: Option<&'static str>,
    /// In how many packets at least the other boards go on without this one.
    packets_without: usize,
}

/// vivid's injected faults, and the driver taken away and given back as by a pulled plug.
pub(crate) const FAULTS: [Fault; 5] = [
    Fault {
        name: "dropped buffers",
        inject: "v4l2-ctl -c percentage_of_dropped_buffers=50",
        clear: Some("v4l2-ctl -c percentage_of_dropped_buffers=0"),
        counter: "capture_lost",
        by: 3,
        proof: None,
        packets_without: 1,
    },
    Fault {
        name: "buffers flagged as errors",
        inject: "for i in 1 2 3; do v4l2-ctl -c inject_v4l2_buf_flag_error=1; usleep 250000; done",
        clear: None,
        counter: "capture_errors",
        by: 1,
        proof: None,
        packets_without: 0,
    },
    Fault {
        name: "fatal streaming error, then a streamon that fails",
        inject: "echo streamon fault > /dev/kmsg; echo 1 > /sys/module/vivid/parameters/vivid_debug; \
                 v4l2-ctl -c inject_vidioc_streamon_error=1 && v4l2-ctl -c inject_fatal_streaming_error=1",
        clear: None,
        counter: "capture_restarts",
        by: 1,
        // One start that failed and one that did not.
        proof: Some(
            "echo 0 > /sys/module/vivid/parameters/vivid_debug; \
             starts=$(dmesg | sed '1,/streamon fault/d' | grep -c vid_cap_start_streaming); \
             echo $starts starts; [ $starts -ge 2 ]",
        ),
        packets_without: 0,
    },
    Fault {
        name: "disconnect",
        inject: "v4l2-ctl -c disconnect=1",
        clear: None,
        counter: "capture_restarts",
        by: 1,
        proof: None,
        packets_without: 0,
    },
    Fault {
        name: "driver unbound and bound again (unplug, replug)",
        inject: "echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind && [ ! -e /dev/video0 ] && \
                 usleep 1500000 && echo vivid.0 > /sys/bus/platform/drivers/vivid/bind",
        clear: None,
        counter: "capture_restarts",
        by: 1,
        proof: None,
        packets_without: 3,
    },
];

impl Fault {
    /// Injects the fault into `board` and waits until frames of all boards come again.
    pub(crate) fn inject(&self, board: &mut Board, aggregator: &mut Aggregator) -> Result<Recovery> {
        let before = self.count(&fresh_stats(board, aggregator)?)?;
        aggregator.skip_waiting();
        let started = now();
        board.expect(self.inject)?;
        // In how many packets the other boards were there and this one was not.
        let mut without = 0;
        let name = board.name;
        let mut see = |aggregator: &Aggregator, packet: &Packet| {
            without += usize::from(aggregator.lacks_only(packet, name));
        };
        let counted = self.wait_until_counted(board, aggregator, before, &mut see)?;
        if let Some(clear) = self.clear {
            board.expect(clear)?;
        }
        aggregator.recovered(utc_now()?, &mut see)?;
        if let Some(proof) = self.proof {
            board.expect(proof)?;
        }
        ensure!(
            without >= self.packets_without,
            "{name}: the other boards should have gone on in at least {} packets without it; they did in {without}",
            self.packets_without
        );
        Ok(Recovery { counted, without, took: now().saturating_duration_since(started) })
    }

    /// Waits for the sender's counter and returns by how much it grew.
    fn wait_until_counted(
        &self,
        board: &mut Board,
        aggregator: &mut Aggregator,
        before: u64,
        mut see: impl FnMut(&Aggregator, &Packet),
    ) -> Result<u64> {
        let limit = deadline(NOTICED);
        while now() < limit {
            let counted = self.count(&stats(board)?)?.saturating_sub(before);
            if counted >= self.by {
                return Ok(counted);
            }
            // The other board's packets set the pace of asking; a board that holds them up does not end it.
            if let Some(received) = aggregator.next(Duration::from_secs(1))? {
                see(aggregator, &received.packet);
            }
        }
        bail!(
            "{}: after `{}` the sender's {} did not grow by {} within {} s",
            board.name,
            self.inject,
            self.counter,
            self.by,
            NOTICED.as_secs()
        )
    }

    fn count(&self, stats: &Value) -> Result<u64> {
        match stats.get(self.counter).and_then(Value::as_u64) {
            Some(count) => Ok(count),
            None => bail!("the sender's statistics have no {}: {stats}", self.counter),
        }
    }
}

/// How a fault went.
pub(crate) struct Recovery {
    /// What the sender counted.
    pub(crate) counted: u64,
    /// Packets of the other boards alone.
    pub(crate) without: usize,
    /// From the injection until the packets were whole again.
    pub(crate) took: Duration,
}

/// The sender's statistics file; an error when the sender has ended.
fn stats(board: &mut Board) -> Result<Value> {
    let text = board.expect("[ ! -e /run/sender.status ] && cat /run/stats.json")?;
    match serde_json::from_str(&text) {
        Ok(stats) => Ok(stats),
        Err(error) => bail!("{}: the sender's statistics are no JSON ({error}): {text}", board.name),
    }
}

/// Statistics written after now, so that what an earlier fault raised is in them.
fn fresh_stats(board: &mut Board, aggregator: &mut Aggregator) -> Result<Value> {
    let limit = deadline(NOTICED);
    let old = stats(board)?;
    while now() < limit {
        let new = stats(board)?;
        if new != old {
            return Ok(new);
        }
        aggregator.next(Duration::from_secs(1))?;
    }
    bail!("{}: the sender has not written its statistics for {} s", board.name, NOTICED.as_secs())
}
