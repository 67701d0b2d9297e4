//! JPEG images as cameras send them (ITU-T T.81 annex B): where one ends, how large its picture is, and
//! whether it is whole. Decoding does not live here.

use thiserror::Error;

/// What an image says of its picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JpegInfo {
    /// Pixels in a row, 1 to 65,535.
    pub width: u32,
    /// Rows, 1 to 65,535.
    pub height: u32,
    /// Bytes of the image, from SOI to EOI; others may follow.
    pub length: usize,
}

/// Why bytes are no image that can be used.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum JpegError {
    /// They do not begin with SOI.
    #[error("no JPEG image: it does not begin with FF D8")]
    NoStart,
    /// They end before EOI.
    #[error("a JPEG image cut short after {0} bytes")]
    Truncated(usize),
    /// Something else stands where a marker should.
    #[error("a damaged JPEG image: no marker at byte {0}")]
    NoMarker(usize),
    /// A segment's length contradicts what must be in it.
    #[error("a damaged JPEG image: a segment of impossible length at byte {0}")]
    Segment(usize),
    /// No frame header, or one without a size (ITU-T T.81 section B.2.5: the number of lines comes later).
    #[error("a JPEG image that does not say its size")]
    NoSize,
    /// More than one frame header: hierarchical coding, which no camera uses, or an attack on a decoder.
    #[error("a JPEG image with two frame headers, at byte {0}")]
    TwoFrames(usize),
}

/// Finds the end of an image while its bytes are still arriving. Every byte is looked at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scanner {
    at: usize,
    in_scan: bool,
    size: Option<(u16, u16)>,
}

impl Scanner {
    /// Goes on with `data`, the image's bytes from its first one on, of which there must never be fewer than
    /// the time before; `None` if more are needed.
    ///
    /// # Errors
    /// When this is no image, whatever follows.
    pub fn advance(&mut self, data: &[u8]) -> Result<Option<JpegInfo>, JpegError> {
        if self.at == 0 {
            let Some(start) = data.first_chunk() else {
                return if [0xff, 0xd8].starts_with(data) { Ok(None) } else { Err(JpegError::NoStart) };
            };
            if *start != [0xff, 0xd8] {
                return Err(JpegError::NoStart);
            }
            self.at = 2;
        }
        loop {
            if self.in_scan {
                let Some(next) = end_of_scan(data, self.at) else {
                    // A trailing FF is looked at again together with what follows it.
                    self.at = data.len().saturating_sub(1).max(self.at);
                    return Ok(None);
                };
                (self.at, self.in_scan) = (next, false);
            }
            let Some((at, marker)) = marker_at(data, self.at)? else { return Ok(None) };
            match marker {
                EOI => {
                    let (width, height) = self.size.ok_or(JpegError::NoSize)?;
                    let (width, height) = (u32::from(width), u32::from(height));
                    return Ok(Some(JpegInfo { width, height, length: at }));
                }
                // RSTm and TEM stand alone.
                0xd0..=0xd7 | 0x01 => self.at = at,
                // A second SOI, and codes that are no markers.
                0xd8 | 0x00 => return Err(JpegError::NoMarker(self.at)),
                _ => {
                    let Some(length) = data.get(at..at + 2) else { return Ok(None) };
                    let end = at + usize::from(u16::from_be_bytes([length[0], length[1]]));
                    if end < at + 2 {
                        return Err(JpegError::Segment(at));
                    }
                    let Some(segment) = data.get(at + 2..end) else { return Ok(None) };
                    if is_frame_header(marker) {
                        self.note_size(segment, at)?;
                    }
                    self.in_scan = marker == SOS;
                    self.at = end;
                }
            }
        }
    }

    /// Reads a frame header (ITU-T T.81 section B.2.2): precision, lines, samples per line.
    fn note_size(&mut self, segment: &[u8], at: usize) -> Result<(), JpegError> {
        let &[_, h1, h0, w1, w0, ..] = segment else { return Err(JpegError::Segment(at)) };
        let size = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
        if size.0 == 0 || size.1 == 0 {
            return Err(JpegError::NoSize);
        }
        if self.size.replace(size).is_some() { Err(JpegError::TwoFrames(at)) } else { Ok(()) }
    }
}

/// End of image.
const EOI: u8 = 0xd9;
/// Start of scan: entropy-coded data follows its segment.
const SOS: u8 = 0xda;

/// SOF0 to SOF15, between which DHT, JPG and DAC are (ITU-T T.81 table B.1).
fn is_frame_header(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc)
}

/// The marker at `at`, behind fill bytes, and where what follows it begins; `None` if it is not here yet.
fn marker_at(data: &[u8], at: usize) -> Result<Option<(usize, u8)>, JpegError> {
    let rest = data.get(at..).unwrap_or_default();
    if rest.first().is_some_and(|&first| first != 0xff) {
        return Err(JpegError::NoMarker(at));
    }
    let fill = rest.iter().take_while(|&&byte| byte == 0xff).count();
    Ok(rest.get(fill).map(|&marker| (at + fill + 1, marker)))
}

/// Where the first marker in entropy-coded data from `at` on is that ends it: none of FF 00 and RSTm
/// (ITU-T T.81 section B.1.1.5); `None` if it is not here yet.
fn end_of_scan(data: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += data.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        match *data.get(at + 1)? {
            0x00 | 0xd0..=0xd7 => at += 2,
            0xff => at += 1,
            _ => return Some(at),
        }
    }
}

/// What the image in `data` says, if it is whole; bytes behind it are not looked at.
///
/// # Errors
/// When it is no image, or not a whole one.
pub fn inspect(data: &[u8]) -> Result<JpegInfo, JpegError> {
    Scanner::default().advance(data)?.ok_or(JpegError::Truncated(data.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of 320x240 with a thumbnail in APP1, stuffed bytes, a restart marker and fill bytes.
    fn image() -> Vec<u8> {
        let mut image = vec![0xff, 0xd8, 0xff, 0xe1, 0, 8, 0xff, 0xd8, 0xff, 0xd9, 1, 2];
        image.extend([0xff, 0xc4, 0, 3, 0]);
        image.extend([0xff, 0xff, 0xc0, 0, 11, 8, 0, 240, 1, 64, 1, 1, 0x11, 0]);
        image.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0]);
        image.extend([7, 0xff, 0, 9, 0xff, 0xd3, 4, 0xff, 0xff, 0xd9]);
        image
    }

    #[test]
    fn the_end_and_the_size_are_found_however_the_bytes_arrive() {
        let image = image();
        let whole = JpegInfo { width: 320, height: 240, length: image.len() };
        assert_eq!(inspect(&image), Ok(whole));
        let longer = [&image[..], b"\r\n--boundary"].concat();
        assert_eq!(inspect(&longer), Ok(whole));
        for step in [1, 2, 3, 7] {
            let mut scanner = Scanner::default();
            for end in (0..image.len()).step_by(step) {
                assert_eq!(scanner.advance(&image[..end]), Ok(None), "{end} by {step}");
            }
            assert_eq!(scanner.advance(&longer), Ok(Some(whole)), "{step}");
        }
        for cut in 0..image.len() {
            assert_eq!(inspect(&image[..cut]), Err(JpegError::Truncated(cut)));
        }
    }

    #[test]
    fn what_is_no_image_says_why() {
        assert_eq!(inspect(b"<html>"), Err(JpegError::NoStart));
        assert_eq!(inspect(&[0xff, 0xd8, 0x12, 0x34]), Err(JpegError::NoMarker(2)));
        assert_eq!(inspect(&[0xff, 0xd8, 0xff, 0xe0, 0, 1]), Err(JpegError::Segment(4)));
        assert_eq!(inspect(&[0xff, 0xd8, 0xff, 0xd9]), Err(JpegError::NoSize));
        assert_eq!(inspect(&[0xff, 0xd8, 0xff, 0xc0, 0, 4, 8, 0]), Err(JpegError::Segment(4)));
        assert_eq!(inspect(&[0xff, 0xd8, 0xff, 0xc2, 0, 7, 8, 0, 0, 1, 1]), Err(JpegError::NoSize));
        let frame = [0xff, 0xc0, 0, 7, 8, 0, 9, 0, 9];
        let two = [&[0xff, 0xd8][..], &frame, &frame].concat();
        assert_eq!(inspect(&two), Err(JpegError::TwoFrames(13)));
    }
}
