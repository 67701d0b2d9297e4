//! What a device can do: formats, sizes, frame intervals.

use std::os::fd::AsFd;

use v4l::v4l_sys as sys;
use v4l::v4l2::vidioc;

use crate::device::CAPTURE;
use crate::raw::{Plain, ioctl, text};
use crate::{Device, FourCc};

/// How many entries of any list are asked for: a driver that never ends one must not hang us.
const LIST_LIMIT: u32 = 256;

/// A pixel format that a device offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatDescription {
    /// The format.
    pub fourcc: FourCc,
    /// The driver's words for it.
    pub description: String,
    /// Whether it is compressed.
    pub compressed: bool,
}

/// The picture sizes of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// These and no others: width, height.
    Discrete(Vec<(u32, u32)>),
    /// Any from the smallest to the largest, by steps.
    Stepwise {
        /// Smallest width and height.
        min: (u32, u32),
        /// Largest width and height.
        max: (u32, u32),
        /// Steps of width and height, at least 1.
        step: (u32, u32),
    },
    /// The driver does not tell.
    Unknown,
}

/// A fraction of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    /// Numerator.
    pub numerator: u32,
    /// Denominator.
    pub denominator: u32,
}

/// The times between frames of a format and size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intervals {
    /// These and no others.
    Discrete(Vec<Fraction>),
    /// Any from the shortest to the longest.
    Range {
        /// The shortest.
        min: Fraction,
        /// The longest.
        max: Fraction,
    },
    /// The driver does not tell.
    Unknown,
}

impl Device {
    /// The pixel formats, in the driver's order; empty where it tells none.
    #[must_use]
    pub fn formats(&self) -> Vec<FormatDescription> {
        let describe = |index| {
            let mut format = sys::v4l2_fmtdesc { index, type_: CAPTURE, ..Plain::zeroed() };
            ioctl(self.as_fd(), vidioc::VIDIOC_ENUM_FMT, &mut format).ok()?;
            Some(FormatDescription {
                fourcc: FourCc(format.pixelformat),
                description: text(&format.description),
                compressed: format.flags & sys::V4L2_FMT_FLAG_COMPRESSED != 0,
            })
        };
        (0..LIST_LIMIT).map_while(describe).collect()
    }

    /// The picture sizes of `fourcc`.
    #[must_use]
    pub fn sizes(&self, fourcc: FourCc) -> Sizes {
        let mut discrete = Vec::new();
        for index in 0..LIST_LIMIT {
            let mut size = sys::v4l2_frmsizeenum { index, pixel_format: fourcc.0, ..Plain::zeroed() };
            if ioctl(self.as_fd(), vidioc::VIDIOC_ENUM_FRAMESIZES, &mut size).is_err() {
                break;
            }
            match size.type_ {
                sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE => {
                    // SAFETY: any bytes are a value of every member of this union.
                    let entry = unsafe { size.__bindgen_anon_1.discrete };
                    if entry.width > 0 && entry.height > 0 {
                        discrete.push((entry.width, entry.height));
                    }
                }
                sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_STEPWISE
                | sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_CONTINUOUS => {
                    // SAFETY: any bytes are a value of every member of this union.
                    return stepwise(unsafe { &size.__bindgen_anon_1.stepwise });
                }
                // A kind of list that is not known yet.
                _ => break,
            }
        }
        if discrete.is_empty() { Sizes::Unknown } else { Sizes::Discrete(discrete) }
    }

    /// The times between frames of `fourcc` at this size.
    #[must_use]
    pub fn intervals(&self, fourcc: FourCc, width: u32, height: u32) -> Intervals {
        let mut discrete = Vec::new();
        for index in 0..LIST_LIMIT {
            let mut interval =
                sys::v4l2_frmivalenum { index, pixel_format: fourcc.0, width, height, ..Plain::zeroed() };
            if ioctl(self.as_fd(), vidioc::VIDIOC_ENUM_FRAMEINTERVALS, &mut interval).is_err() {
                break;
            }
            match interval.type_ {
                sys::v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_DISCRETE => {
                    // SAFETY: any bytes are a value of every member of this union.
                    discrete.extend(fraction(unsafe { &interval.__bindgen_anon_1.discrete }));
                }
                sys::v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_STEPWISE
                | sys::v4l2_frmivaltypes_V4L2_FRMIVAL_TYPE_CONTINUOUS => {
                    // SAFETY: any bytes are a value of every member of this union.
                    let range = unsafe { &interval.__bindgen_anon_1.stepwise };
                    let range = fraction(&range.min).zip(fraction(&range.max));
                    return range.map_or(Intervals::Unknown, |(min, max)| Intervals::Range { min, max });
                }
                // A kind of list that is not known yet.
                _ => break,
            }
        }
        if discrete.is_empty() { Intervals::Unknown } else { Intervals::Discrete(discrete) }
    }
}

fn stepwise(range: &sys::v4l2_frmsize_stepwise) -> Sizes {
    let possible = range.min_width > 0
        && range.min_height > 0
        && range.min_width <= range.max_width
        && range.min_height <= range.max_height;
    if !possible {
        return Sizes::Unknown;
    }
    Sizes::Stepwise {
        min: (range.min_width, range.min_height),
        max: (range.max_width, range.max_height),
        step: (range.step_width.max(1), range.step_height.max(1)),
    }
}

fn fraction(value: &sys::v4l2_fract) -> Option<Fraction> {
    let (numerator, denominator) = (value.numerator, value.denominator);
    (numerator > 0 && denominator > 0).then_some(Fraction { numerator, denominator })
}
