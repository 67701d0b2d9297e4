//! `replay`: recorded times or captured traffic through the same synchronizer.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};

use super::CliError;
use super::args::ReplayArgs;
use crate::engine::offline::replay_pcap;
use crate::replay;

pub(super) fn replay(args: &ReplayArgs) -> Result<(), CliError> {
    let settings = args.settings()?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if let Some(path) = &args.timestamps {
        replay::csv(path, &settings.sync, args.count, &mut out)?;
    } else if let Some(path) = &args.pcap {
        settings.check()?;
        let shown = || path.display().to_string();
        let file = File::open(path).map_err(|source| CliError::Open { path: shown(), source })?;
        let result = replay_pcap(BufReader::new(file), &settings, args.count, &mut out);
        // What came before a damaged place is worth having.
        out.flush().map_err(CliError::Output)?;
        result.map_err(|source| CliError::Pcap { path: shown(), source })?;
    }
    out.flush().map_err(CliError::Output)
}
