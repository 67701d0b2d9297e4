//! The number of the binary interface. The build script reads it too.

/// The binary interface that this header describes: the number in the shared library's name
/// (`libframelock.so.1`), which changes whenever a program has to be compiled anew. framelock_abi() tells that of
/// the library in use.
///
/// What does not change it: new functions, new values of enumerations, which a program must be ready to meet, and new
/// members at the end of what only the library makes: FramelockPacketInfo, FramelockFrameInfo, FramelockCameraStatus.
pub const FRAMELOCK_ABI: u32 = 1;
