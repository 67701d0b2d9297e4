//! Planar 4:2:0 pictures and the pool that their memory returns to.
//!
//! A picture owns its buffer and gives it back to the pool when it is dropped, wherever that is, so
//! capturing allocates nothing after the first frames. What fills a picture lives in the sources.

use std::fmt;
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
        I420 { data, width, height, pool: Some(self.clone()) }
    }

    fn give_back(&self, data: Vec<u8>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < POOL_LIMIT {
            free.push(data);
        }
    }
}

/// A picture as three planes without padding: luma, then Cb and Cr at half the width and height.
pub struct I420 {
    data: Vec<u8>,
    width: usize,
    height: usize,
    pool: Option<PicturePool>,
}

impl I420 {
    /// The picture's size.
    #[must_use]
    pub fn size(&self) -> Size {
        let pixels = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Size { width: pixels(self.width), height: pixels(self.height) }
    }

    /// Pixels in a luma row; also the luma stride.
    #[must_use]
    pub const fn width(&self) -> usize {
        self.width
    }

    /// Luma rows.
    #[must_use]
    pub const fn height(&self) -> usize {
        self.height
    }

    /// Samples in a chroma row; also the chroma stride.
    #[must_use]
    pub const fn chroma_width(&self) -> usize {
        self.width.div_ceil(2)
    }

    /// Chroma rows.
    #[must_use]
    pub const fn chroma_height(&self) -> usize {
        self.height.div_ceil(2)
    }

    fn split(&self) -> (usize, usize) {
        let luma = self.width * self.height;
        (luma, luma + self.chroma_width() * self.chroma_height())
    }

    /// The luma plane.
    #[must_use]
    pub fn y(&self) -> &[u8] {
        &self.data[..self.split().0]
    }

    /// The Cb plane.
    #[must_use]
    pub fn u(&self) -> &[u8] {
        let (u, v) = self.split();
        &self.data[u..v]
    }

    /// The Cr plane.
    #[must_use]
    pub fn v(&self) -> &[u8] {
        &self.data[self.split().1..]
    }

    /// The luma plane, to write.
    pub fn y_mut(&mut self) -> &mut [u8] {
        let end = self.split().0;
        &mut self.data[..end]
    }

    /// All three planes, to write: luma, Cb, Cr.
    pub fn planes_mut(&mut self) -> (&mut [u8], &mut [u8], &mut [u8]) {
        let (u, v) = self.split();
        let (luma, chroma) = self.data.split_at_mut(u);
        let (cb, cr) = chroma.split_at_mut(v - u);
        (luma, cb, cr)
    }

    /// The whole buffer: the three planes one after the other.
    pub(crate) fn data_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }
}

impl Drop for I420 {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.give_back(std::mem::take(&mut self.data));
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
