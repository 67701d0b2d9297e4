//! An emulated board: QEMU, Debian's kernel, and a shell behind the serial console (see `tests/board/init`).

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use framelock_common::time::{Span, Utc};

use crate::child::{Child, deadline, utc_now};

/// How long a board may take to boot on a machine that is busy with other work.
const BOOT: Duration = Duration::from_secs(240);
/// How long a command on a board may take.
const COMMAND: Duration = Duration::from_secs(60);

/// A kind of board and how wrong its clock is when it boots.
pub(crate) struct Machine {
    /// Also the name of its camera.
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    qemu: &'static [&'static str],
    console: &'static str,
    /// The emulated H3 board needs its device tree.
    dtb: Option<&'static str>,
    pub(crate) clock_error_seconds: i64,
    /// Shell command that sets the camera up.
    camera_setup: &'static str,
    /// What part of a period frames are stamped after they are handed out, in per cent: vivid counts the end of a
    /// frame as 90 % of a period after the instant at which it makes the picture.
    pub(crate) stamped_ahead: i64,
}

/// The two boards of the test. Both have Cortex-A7 cores, as the Orange Pi Zero has.
pub(crate) const MACHINES: [Machine; 2] = [
    Machine {
        name: "orangepi",
        description: "Orange Pi PC: Allwinner H3, its own Ethernet; camera stamps the end of frame; clock 95 s slow",
        qemu: &["-M", "orangepi-pc", "-m", "1G", "-nic", "user"],
        console: "ttyS0,115200",
        dtb: Some("orangepi-pc.dtb"),
        clock_error_seconds: -95,
        camera_setup: "v4l2-ctl -c timestamp_source=0",
        stamped_ahead: 90,
    },
    Machine {
        name: "virt",
        description: "Cortex-A7 on the virt machine, virtio network; camera stamps the start of exposure; clock an hour fast",
        qemu: &[
            "-M",
            "virt",
            "-cpu",
            "cortex-a7",
            "-m",
            "512",
            "-netdev",
            "user,id=net",
            "-device",
            "virtio-net-device,netdev=net",
        ],
        console: "ttyAMA0",
        dtb: None,
        clock_error_seconds: 3_671,
        camera_setup: "v4l2-ctl -c timestamp_source=1",
        stamped_ahead: 0,
    },
];

/// A booting or booted board.
pub(crate) struct Board {
    pub(crate) name: &'static str,
    pub(crate) camera_setup: &'static str,
    console: Child,
    next_id: u32,
}

/// What a command printed and its exit status.
pub(crate) struct Output {
    pub(crate) text: String,
    pub(crate) status: i32,
}

impl Board {
    /// Starts the emulator; `now` is the true time, which the board's clock misses by the machine's error.
    pub(crate) fn start(machine: &Machine, dir: &Path, now: Utc) -> Result<Self> {
        let file = |name: &str| dir.join(name).display().to_string();
        let clock = now + Span::from_nanos(machine.clock_error_seconds * 1_000_000_000);
        let clock = clock.to_string();
        let clock = clock.get(..19).context("a UTC instant starts with date and time")?;
        let mut args: Vec<String> = machine.qemu.iter().map(ToString::to_string).collect();
        args.extend(
            ["-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"].map(String::from),
        );
        args.extend(["-rtc".into(), format!("base={clock}")]);
        args.extend(["-kernel".into(), file("vmlinuz"), "-initrd".into(), file("initramfs")]);
        if let Some(dtb) = machine.dtb {
            args.extend(["-dtb".into(), file(dtb)]);
        }
        args.extend(["-append".into(), format!("console={} quiet panic=-1", machine.console)]);
        let console = Child::start(machine.name, Path::new("qemu-system-arm"), &args, dir)?;
        Ok(Self { name: machine.name, camera_setup: machine.camera_setup, console, next_id: 1 })
    }

    /// Waits until camera and network are there.
    pub(crate) fn wait_ready(&self) -> Result<()> {
        let limit = deadline(BOOT);
        while let Some(line) = self.console.line(limit)? {
            let line = line.text;
            if line.ends_with("board: ready") {
                return Ok(());
            }
            if let Some(at) = line.find("board: failed") {
                bail!("{}: {}", self.name, &line[at..]);
            }
        }
        bail!("{} has not booted after {} s", self.name, BOOT.as_secs())
    }

    /// Runs a shell command.
    pub(crate) fn run(&mut self, command: &str) -> Result<Output> {
        let id = self.next_id;
        self.next_id += 1;
        self.console.write_line(&format!("{id} {command}"))?;
        let (prefix, end) = (format!("@{id} "), format!("@{id}= "));
        let limit = deadline(COMMAND);
        let mut text = String::new();
        while let Some(line) = self.console.line(limit)? {
            let line = line.text;
            if let Some(status) = line.strip_prefix(&end) {
                let status = status.parse().with_context(|| format!("{}: no status: {line}", self.name))?;
                return Ok(Output { text, status });
            }
            if let Some(rest) = line.strip_prefix(&prefix) {
                text.push_str(rest);
                text.push('\n');
            }
        }
        bail!("{}: no answer to `{command}` after {} s", self.name, COMMAND.as_secs())
    }

    /// Runs a shell command that must succeed.
    pub(crate) fn expect(&mut self, command: &str) -> Result<String> {
        let output = self.run(command)?;
        if output.status != 0 {
            bail!("{}: `{command}` ended with {}: {}", self.name, output.status, output.text.trim_end());
        }
        Ok(output.text)
    }

    /// Asks the board's `CLOCK_MONOTONIC` so often: the host's UTC before the question, what the board answered,
    /// in ns, and the host's UTC when that was there.
    pub(crate) fn ask_clock(&mut self, questions: usize) -> Result<Vec<(Utc, i64, Utc)>> {
        let id = self.next_id;
        self.next_id += 1;
        // Until it ends, the shell does not read the console.
        self.console.write_line(&format!("{id} board-clock < /dev/console > /dev/console"))?;
        let limit = deadline(COMMAND);
        let mut answers = Vec::new();
        for _ in 0..questions {
            let asked = utc_now()?;
            // With the line's end eight characters, at which the UART interrupts without waiting for more.
            self.console.write_line("clock ?")?;
            loop {
                let Some(line) = self.console.line(limit)? else {
                    bail!("{}: its clock did not answer within {} s", self.name, COMMAND.as_secs())
                };
                if let Some(mono) = line.text.strip_prefix('~') {
                    let mono =
                        mono.parse().with_context(|| format!("{}: no time: {}", self.name, line.text))?;
                    answers.push((asked, mono, line.at));
                    break;
                }
            }
        }
        self.console.write_line("end")?;
        while let Some(line) = self.console.line(limit)? {
            if line.text.starts_with(&format!("@{id}= ")) {
                return Ok(answers);
            }
        }
        bail!("{}: board-clock did not end", self.name)
    }

    /// The board's own idea of UTC, in whole seconds.
    pub(crate) fn clock_seconds(&mut self) -> Result<i64> {
        let text = self.expect("date +%s")?;
        text.trim().parse().with_context(|| format!("{}: `date` says {text}", self.name))
    }
}
