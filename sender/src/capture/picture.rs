//! Planar 4:2:0 pictures and the pool that their memory returns to.
//!
//! A picture owns its buffer and gives it back to the pool when it is dropped, wherever that is, so
//! capturing allocates nothing after the first frames. What fills a picture lives in the sources.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// A picture size in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Size {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// A size of `width` by `height` pixels.
    #[must_use]
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Pixels in a picture.
    #[must_use]
    pub const fn pixels(self) -> u64 {
        self.width as u64 * self.height as u64
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// Buffers a pool keeps at most: one being filled, one waiting, one being encoded.
const POOL_LIMIT: usize = 3;

/// Where dropped pictures leave their memory for the next one.
#[derive(Clone, Debug, Default)]
pub struct PicturePool {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl PicturePool {
    /// An empty pool; buffers come into being as they are needed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A picture of `size`, its pixels undefined: those of an earlier picture, or black. Odd sizes
    /// have their chroma planes rounded up.
    #[must_use]
    pub fn take(&self, size: Size) -> I420 {
        let (width, height) = (size.width as usize, size.height as usize);
        let (chroma_width, chroma_height) = (width.div_ceil(2), height.div_ceil(2));
        let mut data = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        data.resize(width * height + 2 * chroma_width * chroma_height, 0);
        I420 { planes: Planes::Dense { data, pool: Some(self.clone()) }, width, height }
    }

    fn give_back(&self, data: Vec<u8>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < POOL_LIMIT {
            free.push(data);
        }
    }
}

/// Buffers that each have a place of their own, which they return to when they are dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf {
    places: Arc<Mutex<Vec<Option<Vec<u8>>>>>,
}

impl Shelf {
    /// A shelf with these buffers.
    pub(crate) fn new(buffers: Vec<Vec<u8>>) -> Self {
        Self { places: Arc::new(Mutex::new(buffers.into_iter().map(Some).collect())) }
    }

    /// The buffer of `place`; `None` while it is out, and where there is no such place.
    pub(crate) fn take(&self, place: usize) -> Option<Lent> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let data = places.get_mut(place)?.take()?;
        Some(Lent { data, place, shelf: self.clone() })
    }
}

/// A buffer that returns to its [`Shelf`].
pub(crate) struct Lent {
    pub(crate) data: Vec<u8>,
    place: usize,
    shelf: Shelf,
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut places = self.shelf.places.lock().unwrap_or_else(PoisonError::into_inner);
        places[self.place] = Some(std::mem::take(&mut self.data));
    }
}

/// Where a plane lies in a larger one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// The first pixel.
    pub(crate) start: usize,
    /// Pixels from row to row.
    pub(crate) stride: usize,
}

impl Window {
    /// The pixels from the first to the last of `width` x `height`.
    const fn range(self, width: usize, height: usize) -> Range<usize> {
        self.start..self.start + self.stride * height.saturating_sub(1) + width
    }
}

/// Where a picture's pixels are.
enum Planes {
    /// Three planes one after the other, without padding.
    Dense { data: Vec<u8>, pool: Option<PicturePool> },
    /// Windows into larger planes: luma in one of its own, Cb and Cr in one that others share.
    Windows { luma: (Lent, Window), chroma: Arc<[u8]>, cb: Window, cr: Window },
}

/// A picture as three planes: luma, then Cb and Cr at half the width and height.
pub struct I420 {
    planes: Planes,
    width: usize,
    height: usize,
}

impl I420 {
    /// A picture of windows into larger planes.
    pub(crate) fn of_windows(
        size: Size,
        luma: (Lent, Window),
        chroma: Arc<[u8]>,
        [cb, cr]: [Window; 2],
    ) -> Self {
        let (width, height) = (size.width as usize, size.height as usize);
        Self { planes: Planes::Windows { luma, chroma, cb, cr }, width, height }
    }

    /// The picture's size.
    #[must_use]
    pub fn size(&self) -> Size {
        let pixels = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Size { width: pixels(self.width), height: pixels(self.height) }
    }

    /// Pixels in a luma row.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Luma rows.
    #[must_use]
    pub const fn height(&self) -> usize {
        self.height
    }

    /// Samples in a chroma row.
    #[must_use]
    pub const fn chroma_width(&self) -> usize {
        self.width.div_ceil(2)
    }

    /// Chroma rows.
    #[must_use]
    pub const fn chroma_height(&self) -> usize {
        self.height.div_ceil(2)
    }

    /// Pixels from one luma row to the next.
    #[must_use]
    pub const fn stride(&self) -> usize {
        match &self.planes {
            Planes::Dense { .. } => self.width,
            Planes::Windows { luma: (_, window), .. } => window.stride,
        }
    }

    /// Samples from one row to the next of Cb and of Cr.
    #[must_use]
    pub const fn chroma_strides(&self) -> (usize, usize) {
        match &self.planes {
            Planes::Dense { .. } => (self.chroma_width(), self.chroma_width()),
            Planes::Windows { cb, cr, .. } => (cb.stride, cr.stride),
        }
    }

    /// Where the chroma planes start in a picture without padding.
    const fn split(&self) -> (usize, usize) {
        let luma = self.width * self.height;
        (luma, luma + self.chroma_width() * self.chroma_height())
    }

    /// The luma plane, from its first to its last pixel; rows are [`Self::stride`] apart.
    #[must_use]
    pub fn y(&self) -> &[u8] {
        match &self.planes {
            Planes::Dense { data, .. } => &data[..self.split().0],
            Planes::Windows { luma: (lent, window), .. } => &lent.data[window.range(self.width, self.height)],
        }
    }

    /// The Cb plane, from its first to its last sample; see [`Self::chroma_strides`].
    #[must_use]
    pub fn u(&self) -> &[u8] {
        match &self.planes {
            Planes::Dense { data, .. } => {
                let (u, v) = self.split();
                &data[u..v]
            }
            Planes::Windows { chroma, cb, .. } => {
                &chroma[cb.range(self.chroma_width(), self.chroma_height())]
            }
        }
    }

    /// The Cr plane, from its first to its last sample; see [`Self::chroma_strides`].
    #[must_use]
    pub fn v(&self) -> &[u8] {
        match &self.planes {
            Planes::Dense { data, .. } => &data[self.split().1..],
            Planes::Windows { chroma, cr, .. } => {
                &chroma[cr.range(self.chroma_width(), self.chroma_height())]
            }
        }
    }

    /// The luma plane, to write; rows are [`Self::stride`] apart.
    pub fn y_mut(&mut self) -> &mut [u8] {
        let end = self.split().0;
        match &mut self.planes {
            Planes::Dense { data, .. } => &mut data[..end],
            Planes::Windows { luma: (lent, window), .. } => {
                &mut lent.data[window.range(self.width, self.height)]
            }
        }
    }

    /// All three planes without padding, to write: luma, Cb, Cr.
    pub fn planes_mut(&mut self) -> (&mut [u8], &mut [u8], &mut [u8]) {
        let (u, v) = self.split();
        let (luma, chroma) = self.data_mut().split_at_mut(u);
        let (cb, cr) = chroma.split_at_mut(v - u);
        (luma, cb, cr)
    }

    /// The whole picture: the three planes one after the other, without padding. A picture of windows is copied for it.
    pub(crate) fn data_mut(&mut self) -> &mut [u8] {
        if let Planes::Windows { .. } = self.planes {
            self.planes = Planes::Dense { data: self.packed(), pool: None };
        }
        match &mut self.planes {
            Planes::Dense { data, .. } => data,
            Planes::Windows { .. } => &mut [],
        }
    }

    /// A copy of the three planes one after the other, without padding.
    pub(crate) fn packed(&self) -> Vec<u8> {
        let (cb_stride, cr_stride) = self.chroma_strides();
        let planes = [
            (self.y(), self.stride(), self.width),
            (self.u(), cb_stride, self.chroma_width()),
            (self.v(), cr_stride, self.chroma_width()),
        ];
        let rows = planes.into_iter().flat_map(|(plane, stride, width)| {
            plane.chunks(stride.max(1)).map(move |row| &row[..width.min(row.len())])
        });
        rows.collect::<Vec<_>>().concat()
    }
}

impl Drop for I420 {
    fn drop(&mut self) {
        if let Planes::Dense { data, pool: Some(pool) } = &mut self.planes {
            pool.give_back(std::mem::take(data));
        }
    }
}

impl fmt::Debug for I420 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "I420({})", self.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_do_not_overlap_even_at_odd_sizes() {
        let pool = PicturePool::new();
        let mut picture = pool.take(Size::new(5, 3));
        let (y, u, v) = picture.planes_mut();
        assert_eq!((y.len(), u.len(), v.len()), (15, 6, 6));
        y.fill(1);
        u.fill(2);
        v.fill(3);
        assert!(picture.y().iter().all(|&p| p == 1));
        assert!(picture.u().iter().all(|&p| p == 2));
        assert!(picture.v().iter().all(|&p| p == 3));
    }

    #[test]
    fn a_dropped_picture_gives_its_memory_to_the_next() {
        let pool = PicturePool::new();
        let first = pool.take(Size::new(64, 48));
        let address = first.y().as_ptr();
        drop(first);
        assert_eq!(pool.take(Size::new(64, 48)).y().as_ptr(), address);
        drop((0..10).map(|_| pool.take(Size::new(8, 8))).collect::<Vec<_>>());
        assert_eq!(pool.free.lock().unwrap().len(), POOL_LIMIT);
    }
}
