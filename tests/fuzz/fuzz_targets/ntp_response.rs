//! NTP answers from the network.
#![no_main]

use framelock_common::clock::ntp::{Request, Response};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    let _ = Request::parse(datagram);
    if let Ok(response) = Response::parse(datagram) {
        assert_eq!(Response::parse(&response.build()).as_ref(), Ok(&response));
    }
});
