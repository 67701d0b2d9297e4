//! The machine-readable timecode strip: black and white cells drawn into a test picture that say
//! which camera took it, which frame it is and when it was truly captured. Read back at the other
//! end of the whole chain, it tells how far the reported time is from the truth.
//!
//! # Geometry
//!
//! The strip covers the full width of the picture at its very top. It has 40 columns and 4 rows of
//! square cells, so a cell is a fortieth of the picture's width and the strip a tenth of the width
//! high:
//!
//! | picture | cell | strip |
//! |---|---|---|
//! | 1280x720 | 32 px | 1280x128 |
//! | 640x480 | 16 px, one macroblock | 640x64 |
//! | 320x180 | 8 px | 320x32 |
//! | 160x120 | 4 px | 160x16 |
//!
//! Everything scales with the width, so a picture that was scaled as a whole, by whatever factor, is
//! read by the same rule. A picture that was cropped, rotated, mirrored or letterboxed is not read.
//! The narrowest picture is 80 pixels (2-pixel cells: enough to read a halved 160x120).
//!
//! # Content
//!
//! Rows from the top, columns from the left. The first two and the last two cells of every row are
//! markers: white-black at the left and black-white at the right in the even rows, the other way round
//! in the odd rows. They prove that this is a strip and give the two levels. The other 36 cells of each
//! row carry 144 bits, white = 1, most significant bit first, row after row:
//!
//! | bits | what |
//! |---|---|
//! | 16 | camera |
//! | 32 | frame, wrapping |
//! | 64 | capture time, ns since 1970 (until 2262) |
//! | 32 | CRC-32 (IEEE 802.3) over the 14 bytes before it |
//!
//! Cells are drawn with a wide contrast inside the video range, and read as the mean of their middle
//! quarter against the midpoint of the markers: what blurs or rings at their edges does not matter.
//! Nothing is corrected: a strip with a wrong bit fails its checksum, it never gives another value.
//!
//! Only luma counts. Whoever draws a colour picture should set the chroma of the strip's rows
//! ([`strip_height`]) to neutral: it saves the encoder bits.

mod grid;
mod strip;

pub use strip::{Timecode, TimecodeError, draw, read, strip_height};
