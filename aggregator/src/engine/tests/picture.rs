//! Access units that are H.264 as far as a receiver looks: real parameter sets and slice headers, and a
//! payload that tells which frame it is.

/// Writes bits, most significant first.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn u(&mut self, value: u32, bits: u32) -> &mut Self {
        self.0.extend((0..bits).rev().map(|bit| value >> bit & 1 == 1));
        self
    }

    /// Exp-Golomb, unsigned (ITU-T H.264 section 9.1).
    fn ue(&mut self, value: u32) -> &mut Self {
        let bits = (value + 1).ilog2();
        self.u(0, bits).u(value + 1, bits + 1)
    }

    /// The NAL unit with its trailing bits.
    fn nal(&mut self, header: u8, payload: &[u8]) -> Vec<u8> {
        self.u(1, 1);
        while !self.0.len().is_multiple_of(8) {
            self.u(0, 1);
        }
        let bytes = self.0.chunks(8).map(|byte| byte.iter().fold(0, |n, bit| n << 1 | u8::from(*bit)));
        [0, 0, 0, 1, header].into_iter().chain(bytes).chain(payload.iter().copied()).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Key,
    P,
    B,
}

/// Picture number `number` of `size` bytes, its width and height in macroblocks.
pub(super) fn access_unit(kind: Kind, (width, height): (u32, u32), number: u64, size: usize) -> Vec<u8> {
    let mut unit = Vec::new();
    if kind == Kind::Key {
        let mut sps = Bits::default();
        // Main profile, level 3 or the highest; POC type 2 for no reordering is not used, so that B pictures are legal.
        sps.u(77, 8)
            .u(0, 8)
            .u(if width * height > 1_620 { 62 } else { 30 }, 8)
            .ue(0)
            .ue(0)
            .ue(0)
            .ue(0)
            .ue(2)
            .u(0, 1)
            .ue(width - 1)
            .ue(height - 1);
        sps.u(1, 1).u(1, 1).u(0, 1).u(0, 1);
        unit.extend(sps.nal(0x67, &[]));
        let mut pps = Bits::default();
        pps.ue(0).ue(0).u(0, 1).u(0, 1).ue(0).ue(0).ue(0).u(0, 1).u(0, 2).ue(0).ue(0).ue(0).u(0, 3);
        unit.extend(pps.nal(0x68, &[]));
    }
    let (header, slice_type) = match kind {
        Kind::Key => (0x65, 7),
        Kind::P => (0x41, 5),
        Kind::B => (0x01, 6),
    };
    let mut payload: Vec<u8> = number.to_string().into_bytes();
    payload.resize(size.max(payload.len()), 0xa5);
    let mut slice = Bits::default();
    slice.ue(0).ue(slice_type).ue(0).u(0, 4);
    unit.extend(slice.nal(header, &payload));
    unit
}
