//! What goes wrong with cameras, made to happen in the driver, and what the sender must show for it.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::child::{deadline, now, utc_now};
use crate::machine::Board;
use crate::packets::Aggregator;
use crate::sender::stats;

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
    /// In how many packets the other boards must go on without this one before the fault ends.
    packets_without: usize,
}

/// vivid's injected faults, and the driver taken away and given back as by a pulled plug.
pub(crate) const FAULTS: [Fault; 5] = [
    Fault {
        name: "dropped buffers",
        inject: "v4l2-ctl -c percentage_of_dropped_buffers=50",
        clear: Some("v4l2-ctl -c percentage_of_dropped_buffers=0"),
        counter: "capture_lost",
        by: 5,
        proof: None,
        packets_without: 0,
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
        inject: "echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind && [ ! -e /dev/video0 ]",
        clear: Some("echo vivid.0 > /sys/bus/platform/drivers/vivid/bind"),
        counter: "capture_restarts",
        by: 1,
        proof: None,
        packets_without: 10,
    },
];

impl Fault {
    /// Injects the fault into `board` and waits until frames of all boards come again.
    pub(crate) fn inject(&self, board: &mut Board, aggregator: &mut Aggregator) -> Result<Recovery> {
        let before = self.count(&fresh_stats(board, aggregator)?)?;
        aggregator.skip_waiting();
        let started = now();
        board.expect(self.inject)?;
        let without = self.wait_until_noticed(board, aggregator, before)?;
        if let Some(clear) = self.clear {
            board.expect(clear)?;
            // A driver that was bound anew has forgotten it.
            board.expect(board.camera_setup)?;
        }
        aggregator.recovered(utc_now()?)?;
        if let Some(proof) = self.proof {
            board.expect(proof)?;
        }
        let counted = self.count(&stats(board)?)?.saturating_sub(before);
        Ok(Recovery { counted, without, took: now().saturating_duration_since(started) })
    }

    /// Waits until the sender has counted the fault and the other boards have gone on without this one.
    /// Returns in how many packets they did.
    fn wait_until_noticed(
        &self,
        board: &mut Board,
        aggregator: &mut Aggregator,
        before: u64,
    ) -> Result<usize> {
        let limit = deadline(NOTICED);
        let (mut counted, mut without) = (0, 0);
        while now() < limit {
            counted = self.count(&stats(board)?)?.saturating_sub(before);
            if counted >= self.by && without >= self.packets_without {
                return Ok(without);
            }
            // The other board's packets set the pace of asking; a board that holds them up does not end it.
            if let Some(received) = aggregator.next(Duration::from_secs(1))? {
                without += usize::from(aggregator.lacks_only(&received.packet, board.name));
            }
        }
        bail!(
            "after `{}` the sender's {} should grow by {} and grew by {counted}, and {} packets should come \
             without this board and {without} came, within {} s",
            self.inject,
            self.counter,
            self.by,
            self.packets_without,
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
    counted: u64,
    /// Packets of the other boards alone while the fault lasted.
    without: usize,
    /// From the injection until the packets were whole again.
    took: Duration,
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the sender counted {}", self.counted)?;
        if self.without > 0 {
            write!(f, ", {} packets came without it meanwhile", self.without)?;
        }
        write!(f, ", whole again after {:.1} s", self.took.as_secs_f64())
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
