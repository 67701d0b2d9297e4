//! MPEG-TS and H.264 against real muxers, demuxers and decoders: streams made by ffmpeg and GStreamer
//! at test time, and our own read by them.

#[path = "media/tools.rs"]
mod tools;

#[path = "media/foreign.rs"]
mod foreign;
#[path = "media/ours.rs"]
mod ours;
