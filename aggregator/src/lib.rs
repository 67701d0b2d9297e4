//! The Framelock aggregator: receives the streams of many cameras, puts the frames of the same instant together and
//! hands them out as frame packets.
//!
//! Every frame carries the UTC instant of its capture and a bound on how wrong that can be. Every packet is
//! the best set of frames for an instant, and comes as soon as that can be known.
//!
//! ```no_run
//! use std::time::Duration;
//! use framelock_aggregator::Aggregator;
//!
//! let mut aggregator =
//!     Aggregator::builder().camera("left", "rtp://:5000")?.camera("right", "rtsp://10.0.0.7/stream")?.start()?;
//! while let Some(packet) = aggregator.next(Duration::from_secs(5))? {
//!     for entry in &packet.entries {
//!         match &entry.frame {
//!             Some(frame) => println!("{} at {} +-{}", entry.camera, frame.time.utc, frame.time.uncertainty),
//!             None => println!("{}: {}", entry.camera, entry.status),
//!         }
//!     }
//! }
//! # Ok::<(), framelock_aggregator::AggregatorError>(())
//! ```
//!
//! What follows teaches the model, from cameras to packets; each step has a complete program in `aggregator/examples`.
//!
//! 1. [Cameras and sources](#cameras-and-sources)
//! 2. [Packets](#packets)
//! 3. [Times](#times)
//! 4. [Which frames make a packet](#which-frames-make-a-packet)
//! 5. [Consumers](#consumers)
//! 6. [Pixels](#pixels)
//! 7. [Motion vectors](#motion-vectors)
//! 8. [Cameras that come and go](#cameras-that-come-and-go)
//! 9. [What is known of a camera](#what-is-known-of-a-camera)
//! 10. [The synchronizer on its own](#the-synchronizer-on-its-own)
//! 11. [Recorded timing](#recorded-timing)
//! 12. [How it is made](#how-it-is-made)
//!
//! # Cameras and sources
//!
//! A camera is a name and a source. The source says where the stream comes from:
//!
//! | source | what arrives there | capture times |
//! |---|---|---|
//! | `rtp://:5000` | RTP with H.264 or MPEG-TS in it: Framelock's boards, ffmpeg, GStreamer | RTCP sender reports, RFC 6051, SEI |
//! | `udp://:5000` | MPEG-TS in UDP | SEI, else arrival |
//! | `rtsp://HOST/PATH`, `rtsps://` | an RTSP server's H.264 or JPEG | RTCP sender reports |
//! | `http://HOST/PATH`, `https://` | MJPEG (multipart), or single JPEG images that are polled | arrival |
//! | `zmq+tcp://HOST:PORT` | ZeroMQ messages that are JPEG images, raw or in base64 | arrival |
//! | `tcp://HOST:PORT` | JPEG images, each after its length | arrival |
//!
//! Kinds may be mixed. What listens waits, and what connects connects again, with growing pauses, for as long as the
//! aggregator runs: no camera needs to be there at the start, and none that fails has any effect on the others. With
//! `rtp://` the name `*` takes every sender that arrives; each becomes a camera named by its CNAME.
//!
//! A source that cannot be is refused with what would be right, and no message shows its credentials:
//!
//! ```
//! use framelock_aggregator::Aggregator;
//!
//! let builder = Aggregator::builder().camera("left", "rtp://:5000")?;
//! let error = builder.camera("right", "ftp://me:secret@10.0.0.7/right").unwrap_err();
//! assert!(error.to_string().contains("unknown kind of source; use rtp://:PORT"));
//! assert!(!error.to_string().contains("secret"));
//! # Ok::<(), framelock_aggregator::AggregatorError>(())
//! ```
//!
//! Settings may come from a file as well: see [`config`].
//!
//! # Packets
//!
//! A [`Packet`] stands for one instant. Every camera has exactly one [`Entry`] in it, in configured order, whatever
//! became of its frame; [`Entry::status`] tells that:
//!
//! | status | meaning |
//! |---|---|
//! | [`Okay`](FrameStatus::Okay) | [`Entry::frame`] is there, and only then |
//! | [`Dropped`](FrameStatus::Dropped) | the camera runs but has no frame for this instant |
//! | [`ReadError`](FrameStatus::ReadError) | the frame arrived damaged, or refers to one that did |
//! | [`Broken`](FrameStatus::Broken) | the source is down; it keeps reconnecting |
//! | [`Starting`](FrameStatus::Starting) | the camera has not been seen yet |
//!
//! A [`Frame`] is a cheap handle: it may be cloned and kept. It gives the fields of [`CodedFrame`]: the compressed
//! picture as it was sent, its type, its size, its capture time.
//!
//! ```
//! use framelock_aggregator::{FrameStatus, Packet};
//!
//! /// Compressed bytes of those cameras that have a frame, and the names of the others.
//! fn sum_up(packet: &Packet) -> (usize, Vec<&str>) {
//!     let frames = packet.entries.iter().filter_map(|entry| entry.frame.as_ref());
//!     let without = packet.entries.iter().filter(|entry| entry.status != FrameStatus::Okay);
//!     (frames.map(|frame| frame.data.len()).sum(), without.map(|entry| entry.camera.as_str()).collect())
//! }
//! # use framelock_aggregator::{Entry, HostTime, Span, Utc};
//! # let entry = |name: &str, status| Entry { camera: name.into(), status, frame: None };
//! # let packet = Packet {
//! #     number: 0, time: Utc::from_unix_nanos(0), spread: Span::ZERO, spread_bound: Span::ZERO, complete: false,
//! #     ready: HostTime::from_nanos(0), entries: vec![entry("left", FrameStatus::Broken)],
//! # };
//! # assert_eq!(sum_up(&packet), (0, vec!["left"]));
//! ```
//!
//! [`Packet::write_json`] gives the line that `framelock-aggregator packets` prints.
//!
//! # Times
//!
//! [`CodedFrame::time`] is a [`UtcEstimate`]: the frame was captured within `uncertainty` of `utc`, before or
//! after. [`TimeSource`] tells where that comes from. A camera that sends no time at all has its frames timed by their
//! arrival, and says so; its bound then is as wide as the way of a frame here is long.
//!
//! Time types keep clocks apart: [`Utc`] is an instant, [`HostTime`] one of this machine's monotonic clock, [`Span`]
//! a distance, all in whole nanoseconds.
//!
//! ```
//! use framelock_aggregator::{Span, Utc, UtcEstimate};
//!
//! /// Whether one frame was surely captured before the other.
//! fn surely_before(one: UtcEstimate, other: UtcEstimate) -> bool {
//!     one.utc + one.uncertainty < other.utc - other.uncertainty
//! }
//!
//! let at = |ms, bound| UtcEstimate {
//!     utc: Utc::from_unix_nanos(1_790_000_000_000_000_000) + Span::from_millis(ms),
//!     uncertainty: Span::from_millis(bound),
//! };
//! assert!(surely_before(at(0, 1), at(5, 1)));
//! assert!(!surely_before(at(0, 1), at(5, 20)), "that camera's clock is not known well enough");
//! ```
//!
//! [`Packet::spread`] is how far apart its frames are, and [`Packet::spread_bound`] how far they are at most,
//! however wrong the times are within their bounds.
//!
//! # Which frames make a packet
//!
//! The [`Policy`] says it:
//!
//! - [`Policy::Tightest`], unless set otherwise: every frame of one camera (the slowest, as [`Rate`] says) anchors one
//!   packet, which takes from every other camera the unused frame that makes the spread of the whole smallest.
//! - [`Policy::LastBefore`]: each camera gives its last frame at or before an instant that all have reached.
//! - [`Policy::Exact`]: only complete packets with at most so much spread.
//!
//! Each frame is in at most one packet, and order is kept. A packet comes as soon as no frame still to come could
//! improve it, or `max_wait` after its anchor: a camera that is late or dead costs the others no more than that,
//! and only once.
//!
//! ```
//! use framelock_aggregator::{Aggregator, Policy, Rate, Span};
//!
//! let builder = Aggregator::builder()
//!     .camera("left", "rtp://:5000")?
//!     .policy(Policy::Exact(Span::from_millis(5)))
//!     .rate(Rate::Slowest)
//!     .max_wait(Span::from_millis(50));
//! // As on the command line and in files:
//! assert_eq!("exact:5ms".parse(), Ok(Policy::Exact(Span::from_millis(5))));
//! assert!("29.97".parse::<Rate>().is_ok());
//! # drop(builder);
//! # Ok::<(), framelock_aggregator::AggregatorError>(())
//! ```
//!
//! # Consumers
//!
//! [`Aggregator::next`] is enough for one loop. [`Aggregator::subscribe`] gives further [`Consumer`]s, each to be
//! moved to a thread of its own, with its own pace and choice of pixels; none holds up another. A [`Subscription`] says
//! what becomes of packets that its consumer is too slow for: it gets the newest ones ([`Queue::Newest`]), or all up
//! to a limit ([`Queue::All`]). Skipped packets are counted. There is [`Consumer::next_async`] for tokio, and
//! [`Consumer::wake_with`] for other event loops.
//!
//! ```
//! use framelock_aggregator::{Aggregator, ConsumerError, Queue, Subscription};
//!
//! let aggregator = Aggregator::builder().start()?;
//! let mut newest = aggregator.subscribe(Subscription::default())?;
//! let mut all = aggregator.subscribe(Subscription { queue: Queue::All { limit: 30 }, ..Subscription::default() })?;
//! assert!(newest.try_next()?.is_none(), "there is no camera yet");
//! assert_eq!(all.counters().skipped, 0);
//!
//! drop(aggregator);
//! assert_eq!(all.try_next().unwrap_err(), ConsumerError::Closed);
//! # Ok::<(), framelock_aggregator::AggregatorError>(())
//! ```
//!
//! # Pixels
//!
//! Nothing is decoded unless some consumer wants it: [`Subscription::decoded`], or [`AggregatorBuilder::decode`] for
//! [`Aggregator::next`]. Then [`Frame::picture`] has the picture of every frame that is okay; a frame that does not
//! decode cleanly, or refers to one that did not, is a [`ReadError`](FrameStatus::ReadError) and never shown. A
//! [`Picture`] stays as it came out of the decoder, planar YUV. [`Picture::to_bgr`], [`Picture::to_rgb`] and
//! [`Picture::to_gray`] convert it into a buffer of yours, when and if you want it.
//!
//! ```
//! use framelock_aggregator::{Frame, Picture, PixelFormat};
//! use framelock_aggregator::deliver::PictureError;
//!
//! /// The picture as OpenCV takes it: rows of blue, green and red bytes.
//! fn bgr(picture: &Picture) -> Result<Vec<u8>, PictureError> {
//!     let mut image = vec![0; picture.width() * picture.height() * PixelFormat::Bgr.bytes()];
//!     picture.to_bgr(&mut image)?;
//!     Ok(image)
//! }
//!
//! /// Mean brightness, without any conversion.
//! fn brightness(frame: &Frame) -> Option<f64> {
//!     let picture = frame.picture()?;
//!     let rows = picture.y().data.chunks(picture.y().stride).take(picture.height());
//!     let sum: u64 = rows.flat_map(|row| &row[..picture.width()]).map(|value| u64::from(*value)).sum();
//!     Some(sum as f64 / (picture.width() * picture.height()) as f64)
//! }
//! ```
//!
//! # Motion vectors
//!
//! With [`Subscription::motion_vectors`], [`Frame::motion_vectors`] has those of every H.264 frame, as libavcodec exports
//! them and in its order; none for an I frame.
//!
//! ```
//! use framelock_aggregator::MotionVector;
//!
//! /// How far the block moved, in pixels.
//! fn moved(vector: &MotionVector) -> (f64, f64) {
//!     let scale = f64::from(vector.motion_scale.max(1));
//!     (f64::from(vector.motion_x) / scale, f64::from(vector.motion_y) / scale)
//! }
//!
//! let vector = MotionVector { motion_x: 6, motion_y: -4, motion_scale: 4, ..MotionVector::default() };
//! assert_eq!(moved(&vector), (1.5, -1.0));
//! ```
//!
//! # Cameras that come and go
//!
//! [`Aggregator::add_camera`] and [`Aggregator::remove_camera`] work while packets go on. A camera that was added is in
//! every packet from then on, after those that there were; one that was removed is in none, and its port is free
//! again.
//!
//! ```no_run
//! use framelock_aggregator::Aggregator;
//!
//! let aggregator = Aggregator::builder().camera("left", "rtp://:5000")?.start()?;
//! aggregator.add_camera("right", "rtp://:5002")?;
//! assert!(aggregator.add_camera("right", "rtp://:5004").is_err(), "there is one of that name");
//! aggregator.remove_camera("left")?;
//! # Ok::<(), framelock_aggregator::AggregatorError>(())
//! ```
//!
//! # What is known of a camera
//!
//! [`Aggregator::status`] has a [`CameraStatus`] of every camera: whether its source is up ([`CameraStatus::state`]), why
//! not ([`CameraStatus::reason`], one line for people), what arrived, what was lost, and what became of its frames.
//!
//! ```
//! use framelock_aggregator::Aggregator;
//!
//! let aggregator = Aggregator::builder().start()?;
//! for camera in aggregator.status() {
//!     println!("{}: {}, {} lost", camera.name, camera.state.as_str(), camera.stream.lost);
//!     if let Some(reason) = &camera.reason {
//!         println!("  {reason}");
//!     }
//! }
//! # Ok::<(), framelock_aggregator::AggregatorError>(())
//! ```
//!
//! # The synchronizer on its own
//!
//! What decides which frames belong together is sans-IO: [`Synchronizer`] reads no clock, opens no socket and does not
//! look into the frames, which can be of any type. It is told what arrived when, and gives the finished sets. So
//! the same code can be run over frames from elsewhere, over recordings, or under simulated clocks.
//!
//! ```
//! use framelock_aggregator::sync::{CameraIndex, SetStatus, SyncCamera, SyncConfig, SyncFrame};
//! use framelock_aggregator::{HostTime, Span, Synchronizer, Utc};
//!
//! let period = Some(Span::from_millis(100));
//! let cameras = vec![SyncCamera { declared_period: period }; 2];
//! let mut synchronizer = Synchronizer::new(&SyncConfig::default(), cameras);
//! let mut sets = Vec::new();
//! for frame in 0..10 {
//!     // The second camera is 12 ms behind, and loses a frame.
//!     for (camera, phase) in [(0, 0), (1, 12)] {
//!         if (camera, frame) == (1, 5) {
//!             continue;
//!         }
//!         let captured = Span::from_millis(1_000 + 100 * frame + phase);
//!         let (time, arrival) = (Utc::from_unix_nanos(0) + captured, HostTime::from_nanos(0) + captured);
//!         // What is due before the frame comes first; here the payload is the frame's number.
//!         while let Some(due) = synchronizer.poll_timeout().filter(|due| *due < arrival) {
//!             synchronizer.handle_timeout(due);
//!         }
//!         synchronizer.handle_frame(CameraIndex::new(camera), SyncFrame::new(time, frame), arrival);
//!     }
//!     sets.extend(std::iter::from_fn(|| synchronizer.poll_set()));
//! }
//! synchronizer.finish(HostTime::from_nanos(3_000_000_000));
//! sets.extend(std::iter::from_fn(|| synchronizer.poll_set()));
//!
//! assert_eq!(sets.len(), 10);
//! for set in sets {
//!     let lost = set.number == 5;
//!     assert_eq!(set.complete, !lost);
//!     assert_eq!(set.spread, if lost { Span::ZERO } else { Span::from_millis(12) });
//!     assert_eq!(set.entries[1].status, if lost { SetStatus::Dropped } else { SetStatus::Okay });
//! }
//! ```
//!
//! # Recorded timing
//!
//! [`replay`] does that for a table of frame times, with the output of `framelock-aggregator packets`. The same input gives
//! the same bytes every time. [`engine::offline::replay_pcap`] does it for captured traffic, by way of all there is but the
//! sockets.
//!
//! ```
//! use framelock_aggregator::replay;
//! use framelock_aggregator::sync::SyncConfig;
//!
//! let times = "cam_id,frame_time\nleft,1.000\nright,1.004\nleft,1.100\nright,1.104\n";
//! let mut lines = Vec::new();
//! let packets = replay::csv_from(times.as_bytes(), "times.csv", &SyncConfig::default(), None, &mut lines)?;
//! assert_eq!(packets, 2);
//! assert!(String::from_utf8_lossy(&lines).contains(r#""spread_ns":4000000"#));
//! # Ok::<(), framelock_aggregator::replay::ReplayError>(())
//! ```
//!
//! # How it is made
//!
//! Data flows one way; a module uses only what comes before it in this table.
//!
//! | module | what |
//! |---|---|
//! | [`source`] | what arrives on a port becomes the frames of a camera |
//! | [`timestamp`] | when a frame was captured, and how sure that is |
//! | [`sync`] | frames of many cameras become sets of one instant |
//! | [`deliver`] | [`Packet`], [`Frame`] and their JSON form |
//! | [`decode`] | pictures, where asked for |
//! | [`engine`] | all of it without sockets, live and over capture files |
//! | [`ntp`] | this host's clock for the boards |
//! | [`Aggregator`] | the running thing, with its builder |
//!
//! [`config`] holds the settings. [`cli`] and [`demo`] are the command line; the binary calls [`cli::main`] and does
//! nothing else.

mod aggregator;
pub mod cli;
mod clock;
pub mod config;
pub mod decode;
pub mod deliver;
pub mod demo;
pub mod engine;
pub mod ntp;
pub mod replay;
pub mod source;
pub mod sync;
pub mod timestamp;

pub use aggregator::{Aggregator, AggregatorBuilder, AggregatorError};
pub use deliver::{
    CameraName, Codec, CodedFrame, Consumer, ConsumerCounters, ConsumerError, Entry, Frame, FrameStatus,
    FrameType, MotionVector, Packet, Picture, PixelFormat, Pixels, Queue, Subscription, TimeSource,
};
pub use engine::{CameraStatus, RemoveError};
pub use framelock_common::time::{HostTime, Span, Utc, UtcEstimate};
pub use source::PortCounters;
pub use sync::{Policy, Rate, Synchronizer};
