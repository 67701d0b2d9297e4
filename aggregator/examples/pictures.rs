//! Saves the pictures of one packet, one of each camera, as `CAMERA.ppm` in a directory.
//!
//!     cargo run -p framelock-aggregator --example pictures -- DIR left=rtp://:5000 right=rtp://:5002
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use framelock_aggregator::{Aggregator, Picture};

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().context("usage: pictures DIR NAME=SOURCE...")?);
    let mut builder = Aggregator::builder().decode(true);
    for arg in args {
        let (name, source) = arg.split_once('=').context("a camera is NAME=SOURCE")?;
        builder = builder.camera(name, source)?;
    }
    let mut aggregator = builder.start()?;
    let packet = loop {
        let packet = aggregator.next(Duration::from_secs(30))?.context("nothing came for 30 s")?;
        // A camera has no picture before its first key frame.
        if packet.complete {
            break packet;
        }
    };
    println!("packet {}: {} apart", packet.number, packet.spread);
    for entry in &packet.entries {
        let picture = entry.frame.as_ref().and_then(|frame| frame.picture());
        let picture = picture.context("a complete packet has all pictures")?;
        // The name may come from outside; only what is at the end of a path is taken of it.
        let name = Path::new(entry.camera.as_str()).file_name().context("a camera's name is a file's")?;
        let path = dir.join(name).with_extension("ppm");
        save(picture, &path).with_context(|| path.display().to_string())?;
        println!("{}: {}x{} in {}", entry.camera, picture.width(), picture.height(), path.display());
    }
    Ok(())
}

/// Portable pixmap: a line of text, then red, green and blue bytes.
fn save(picture: &Picture, path: &Path) -> anyhow::Result<()> {
    let mut rgb = vec![0; picture.width() * picture.height() * 3];
    picture.to_rgb(&mut rgb)?;
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "P6 {} {} 255", picture.width(), picture.height())?;
    file.write_all(&rgb)?;
    Ok(file.flush()?)
}
