//! USB/IP, the kernel's protocol for USB over TCP (`Documentation/usb/usbip_protocol.rst`): as much of it
//! as a server with one device needs. Nothing here does I/O but on what it is given.

use std::io::{self, Read, Write};

/// Protocol version 1.1.1.
const VERSION: u16 = 0x0111;
const IMPORT_REQUEST: u16 = 0x8003;
const IMPORT_REPLY: u16 = 0x0003;
const COMMAND_SUBMIT: u32 = 1;
const COMMAND_UNLINK: u32 = 2;
const RETURN_SUBMIT: u32 = 3;
const RETURN_UNLINK: u32 = 4;
/// More data than this in one transfer is no sane request.
const MAX_TRANSFER: u32 = 1 << 20;

/// `-EPIPE`: the endpoint stalls, as USB calls a refusal.
pub(super) const STALL: i32 = -32;
/// `-ECONNRESET`: the transfer was taken back.
const UNLINKED: i32 = -104;

/// What the host side wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// A transfer. Its answer may come later.
    Submit {
        /// To be named in the answer.
        number: u32,
        endpoint: u32,
        /// The setup packet of a control transfer.
        setup: [u8; 8],
        /// For a transfer to the host: how many bytes it takes. Otherwise the data.
        direction: Direction,
    },
    /// Take back the transfer `victim`.
    Unlink { number: u32, victim: u32 },
}

/// Which way a transfer's data goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// To the host, at most so many bytes.
    In(usize),
    /// These, from the host.
    Out(Vec<u8>),
}

/// Reads the request to import a device and grants it; `device_descriptor` is the USB one.
pub(super) fn import(stream: &mut (impl Read + Write), device_descriptor: &[u8; 18]) -> io::Result<()> {
    let mut request = [0; 40];
    stream.read_exact(&mut request)?;
    if request[..4] != [VERSION.to_be_bytes(), IMPORT_REQUEST.to_be_bytes()].concat() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a request to import a USB/IP device"));
    }
    let mut reply = Vec::with_capacity(320);
    reply.extend([VERSION.to_be_bytes(), IMPORT_REPLY.to_be_bytes()].concat());
    reply.extend(0_u32.to_be_bytes());
    let mut path = [0; 256];
    path[..7].copy_from_slice(b"/webcam");
    reply.extend(path);
    reply.extend(&request[8..]);
    // Bus 1, device 1, high speed.
    reply.extend([1_u32, 1, 3].map(u32::to_be_bytes).concat());
    let word = |at: usize| [device_descriptor[at + 1], device_descriptor[at]];
    // Vendor, product and device number; class; no configuration yet, one there is, two interfaces.
    reply.extend([word(8), word(10), word(12)].concat());
    reply.extend(&device_descriptor[4..7]);
    reply.extend([0, 1, 2]);
    stream.write_all(&reply)
}

/// Reads the next request.
pub(super) fn read_request(stream: &mut impl Read) -> io::Result<Request> {
    let mut header = [0; 48];
    stream.read_exact(&mut header)?;
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (number, inward, endpoint) = (word(4), word(12) == 1, word(16));
    match word(0) {
        COMMAND_SUBMIT => {
            let length = word(24);
            if length > MAX_TRANSFER {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a transfer is too long"));
            }
            let length = length as usize;
            let mut setup = [0; 8];
            setup.copy_from_slice(&header[40..]);
            let direction = if inward {
                Direction::In(length)
            } else {
                let mut data = vec![0; length];
                stream.read_exact(&mut data)?;
                Direction::Out(data)
            };
            Ok(Request::Submit { number, endpoint, setup, direction })
        }
        COMMAND_UNLINK => Ok(Request::Unlink { number, victim: word(20) }),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "an unknown USB/IP command")),
    }
}

/// The end of a transfer to the host: these bytes.
pub(super) fn deliver(number: u32, data: &[u8]) -> Vec<u8> {
    let mut reply = returned(number, 0, data.len());
    reply.extend(data);
    reply
}

/// The end of a transfer from the host, `status` zero if `length` bytes were taken.
pub(super) fn acknowledge(number: u32, status: i32, length: usize) -> Vec<u8> {
    returned(number, status, length)
}

/// The answer to [`Request::Unlink`].
pub(super) fn unlinked(number: u32, was_waiting: bool) -> Vec<u8> {
    let status = if was_waiting { UNLINKED } else { 0 };
    let mut reply = [RETURN_UNLINK, number, 0, 0, 0, status.cast_unsigned()].map(u32::to_be_bytes).concat();
    reply.resize(48, 0);
    reply
}

fn returned(number: u32, status: i32, length: usize) -> Vec<u8> {
    let words = [RETURN_SUBMIT, number, 0, 0, 0, status.cast_unsigned(), length as u32];
    let mut reply = words.map(u32::to_be_bytes).concat();
    reply.resize(48, 0);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection: what it says, and what it was told.
    struct Peer(io::Cursor<Vec<u8>>, Vec<u8>);

    impl Read for Peer {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.0.read(to)
        }
    }

    impl Write for Peer {
        fn write(&mut self, from: &[u8]) -> io::Result<usize> {
            self.1.write(from)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_import_is_granted_in_320_bytes_and_anything_else_refused() {
        let mut request = vec![0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0];
        request.resize(40, b'1');
        let mut peer = Peer(io::Cursor::new(request.clone()), Vec::new());
        import(&mut peer, &[7; 18]).expect("granted");
        assert_eq!((peer.1.len(), &peer.1[..8]), (320, &[0x01, 0x11, 0x00, 0x03, 0, 0, 0, 0][..]));
        request[3] = 0x05;
        let mut peer = Peer(io::Cursor::new(request), Vec::new());
        assert!(import(&mut peer, &[7; 18]).is_err());
        assert!(peer.1.is_empty());
    }

    #[test]
    fn requests_are_read_with_their_data_and_limits() {
        let submit = |inward: u32, length: u32| {
            let words = [COMMAND_SUBMIT, 5, 65_537, inward, 1, 0, length, 0, 0, 0];
            [&words.map(u32::to_be_bytes).concat()[..], &[1, 2, 3, 4, 5, 6, 7, 8, 0xaa, 0xbb]].concat()
        };
        let read = |bytes: Vec<u8>| read_request(&mut io::Cursor::new(bytes));
        let setup = [1, 2, 3, 4, 5, 6, 7, 8];
        let expected = |direction| Request::Submit { number: 5, endpoint: 1, setup, direction };
        assert_eq!(read(submit(1, 512)).expect("valid"), expected(Direction::In(512)));
        assert_eq!(read(submit(0, 2)).expect("valid"), expected(Direction::Out(vec![0xaa, 0xbb])));
        assert!(read(submit(0, 3)).is_err(), "cut short");
        assert!(read(submit(1, u32::MAX)).is_err(), "too long");
        assert!(read(vec![0; 48]).is_err(), "unknown");
    }
}
