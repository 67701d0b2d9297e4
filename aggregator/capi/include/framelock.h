/**
 * Framelock: frames of many cameras, captured at the same instant, each with the UTC instant of its capture and a
 * bound on how wrong that can be. C++ programs have classes for all of this in framelock.hpp.
 *
 *     FramelockError error;
 *     FramelockConfig *config = framelock_config_new();
 *     FramelockAggregator *aggregator;
 *     FramelockSubscription *subscription;
 *     FramelockSubscribeOptions options = {.pixels = FRAMELOCK_PIXELS_BGR};
 *     FramelockPacket *packet;
 *
 *     if (framelock_config_add_camera(config, "left", "rtp://:5000", &error) ||
 *         framelock_config_add_camera(config, "right", "rtp://:5002", &error) ||
 *         framelock_aggregator_start(config, &aggregator, &error) ||
 *         framelock_aggregator_subscribe(aggregator, &options, &subscription, &error)) {
 *         fprintf(stderr, "%s\n", error.message);
 *         return 1;
 *     }
 *     while (framelock_subscription_next(subscription, FRAMELOCK_FOREVER, &packet, &error) == FRAMELOCK_RESULT_OK) {
 *         for (size_t n = 0; n < framelock_packet_count(packet); n++) {
 *             const FramelockFrame *frame = framelock_packet_frame(packet, n);
 *             FramelockImage image;
 *             if (framelock_frame_image(frame, &image, NULL) == FRAMELOCK_RESULT_OK)
 *                 use(framelock_frame_info(frame), &image);
 *         }
 *         framelock_packet_release(packet);
 *     }
 *
 * These rules hold for every function:
 *
 * Results. A function that can fail returns a FramelockResult, 0 where all went well, and tells more in its last
 * argument, which may be NULL. What it gives by other pointers is 0 or NULL where it failed. Be ready for results and
 * other enumeration values that this header does not know: a later library may have more.
 *
 * Arguments. NULL is refused (#FRAMELOCK_RESULT_ARGUMENT) or harmless, as is any value out of range. Any other
 * pointer must be to what it says: memory of the type, or an object that this library gave and that has not been
 * freed. Texts are UTF-8 and end with a NUL; they are copied.
 *
 * Ownership. What comes by a `**` argument or from framelock_config_new() is the caller's, to be given back once to
 * the function named after it: ..._free() or framelock_packet_release(). They may be freed in any order. What a
 * function returns by a `const` pointer belongs to the object that it was asked of, and lives as long as that; it
 * is not freed.
 *
 * Threads. Every function may be called from every thread, at the same time with the same objects. Only freeing an
 * object ends that: whoever frees it sees to it that nobody uses it any more. To have another thread return from
 * framelock_subscription_next(), close the subscription or the aggregator.
 *
 * Times end in `_ns` and are nanoseconds; instants count from the Unix epoch, UTC.
 */


#ifndef FRAMELOCK_H
#define FRAMELOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The binary interface that this header describes: the number in the shared library's name
 * (`libframelock.so.1`), which changes whenever a program has to be compiled anew. framelock_abi() tells that of
 * the library in use.
 *
 * What does not change it: new functions, new values of enumerations, which a program must be ready to meet, and new
 * members at the end of what only the library makes: FramelockPacketInfo, FramelockFrameInfo, FramelockCameraStatus.
 */
#define FRAMELOCK_ABI 1

/**
 * Bytes of a message, the NUL at its end included; longer messages are cut.
 */
#define FRAMELOCK_MESSAGE_SIZE 512

/**
 * The timeout of framelock_subscription_next() that never passes, as any negative one.
 */
#define FRAMELOCK_FOREVER -1

/**
 * What came of a call.
 */
enum FramelockResult
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Done.
     */
    FRAMELOCK_RESULT_OK = 0,
    /**
     * No packet came in time.
     */
    FRAMELOCK_RESULT_TIMEOUT = 1,
    /**
     * No packet will come any more: every source has come to its end, as files do.
     */
    FRAMELOCK_RESULT_ENDED = 2,
    /**
     * The aggregator or the subscription has been closed.
     */
    FRAMELOCK_RESULT_CLOSED = 3,
    /**
     * An argument that cannot be: NULL, a text that is not UTF-8, a value out of range.
     */
    FRAMELOCK_RESULT_ARGUMENT = 4,
    /**
     * A setting, a camera or a source that cannot be; the message says what would be right.
     */
    FRAMELOCK_RESULT_CONFIG = 5,
    /**
     * The system does not give what is needed: a port, a thread, a decoder.
     */
    FRAMELOCK_RESULT_START = 6,
    /**
     * The camera has no frame in this packet; its status says why.
     */
    FRAMELOCK_RESULT_NO_FRAME = 7,
    /**
     * The subscription did not ask for this: pixels or motion vectors.
     */
    FRAMELOCK_RESULT_NOT_REQUESTED = 8,
    /**
     * Anything else, as the message says.
     */
    FRAMELOCK_RESULT_FAILED = 9,
    /**
     * A bug in this library. It can be used on, but what was called may have done half of its work.
     */
    FRAMELOCK_RESULT_INTERNAL = 10,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum FramelockResult FramelockResult;
#else
typedef uint32_t FramelockResult;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Why a camera has a frame in a packet, or why not.
 */
enum FramelockFrameStatus
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * It has one.
     */
    FRAMELOCK_FRAME_STATUS_OKAY = 0,
    /**
     * The camera runs but has no frame for this instant.
     */
    FRAMELOCK_FRAME_STATUS_DROPPED = 1,
    /**
     * The camera's frame of this instant arrived damaged.
     */
    FRAMELOCK_FRAME_STATUS_READ_ERROR = 2,
    /**
     * The source is down; it keeps reconnecting.
     */
    FRAMELOCK_FRAME_STATUS_BROKEN = 3,
    /**
     * The camera has not been seen yet.
     */
    FRAMELOCK_FRAME_STATUS_STARTING = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum FramelockFrameStatus FramelockFrameStatus;
#else
typedef uint32_t FramelockFrameStatus;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Where a frame's capture time comes from, best first.
 */
enum FramelockTimeSource
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * There is no frame.
     */
    FRAMELOCK_TIME_SOURCE_NONE = 0,
    /**
     * RTCP sender reports (RFC 3550 section 6.4.1).
     */
    FRAMELOCK_TIME_SOURCE_SENDER_REPORT = 1,
    /**
     * The NTP-64 header extension (RFC 6051).
     */
    FRAMELOCK_TIME_SOURCE_IN_BAND = 2,
    /**
     * The capture time in the H.264 SEI (MISB ST 0604).
     */
    FRAMELOCK_TIME_SOURCE_SEI = 3,
    /**
     * No capture time was sent: arrival minus an estimate of the smallest delay. The bound is wide.
     */
    FRAMELOCK_TIME_SOURCE_ARRIVAL = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum FramelockTimeSource FramelockTimeSource;
#else
typedef uint32_t FramelockTimeSource;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How a frame is predicted, as its slices say.
 */
enum FramelockFrameType
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The stream does not say, or there is no frame.
     */
    FRAMELOCK_FRAME_TYPE_UNKNOWN = 0,
    /**
     * From itself alone.
     */
    FRAMELOCK_FRAME_TYPE_I = 1,
    /**
     * From one earlier frame a block.
     */
    FRAMELOCK_FRAME_TYPE_P = 2,
    /**
     * From up to two frames a block, which may be later ones.
     */
    FRAMELOCK_FRAME_TYPE_B = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum FramelockFrameType FramelockFrameType;
#else
typedef uint32_t FramelockFrameType;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How a frame's compressed data is coded.
 */
enum FramelockCodec
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * There is no frame.
     */
    FRAMELOCK_CODEC_NONE = 0,
    /**
     * One access unit of H.264, as an Annex B byte stream.
     */
    FRAMELOCK_CODEC_H264 = 1,
    /**
     * One JPEG image.
     */
    FRAMELOCK_CODEC_JPEG = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum FramelockCodec FramelockCodec;
#else
typedef uint32_t FramelockCodec;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What images a consumer wants, and how an image is laid out; 8 bits a channel.
 */
enum FramelockPixels
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * None: compressed frames and their times. Nothing is decoded for such a consumer.
     */
    FRAMELOCK_PIXELS_NONE = 0,
    /**
     * Blue, green, red; 3 bytes a pixel: what OpenCV works with.
     */
    FRAMELOCK_PIXELS_BGR = 1,
    /**
     * Red, green, blue; 3 bytes a pixel.
     */
    FRAMELOCK_PIXELS_RGB = 2,
    /**
     * Brightness, 0 for black and 255 for white; 1 byte a pixel.
     */
    FRAMELOCK_PIXELS_GRAY = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum FramelockPixels FramelockPixels;
#else
typedef uint32_t FramelockPixels;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How much chroma a decoded picture has.
 */
enum FramelockChroma
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * None: luma only.
     */
    FRAMELOCK_CHROMA_GRAY = 0,
    /**
     * Half of luma's size both ways, rounded up.
     */
    FRAMELOCK_CHROMA_YUV420 = 1,
    /**
     * Half of luma's width, rounded up.
     */
    FRAMELOCK_CHROMA_YUV422 = 2,
    /**
     * As much as luma.
     */
    FRAMELOCK_CHROMA_YUV444 = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum FramelockChroma FramelockChroma;
#else
typedef uint32_t FramelockChroma;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How colours are made of luma and chroma (ITU-T H.264 table E-5).
 */
enum FramelockMatrix
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * ITU-R BT.601: also taken where the stream does not say, and for JPEG.
     */
    FRAMELOCK_MATRIX_BT601 = 0,
    /**
     * ITU-R BT.709.
     */
    FRAMELOCK_MATRIX_BT709 = 1,
    /**
     * ITU-R BT.2020, non-constant luminance.
     */
    FRAMELOCK_MATRIX_BT2020 = 2,
    /**
     * SMPTE 240M.
     */
    FRAMELOCK_MATRIX_SMPTE240M = 3,
    /**
     * FCC Title 47.
     */
    FRAMELOCK_MATRIX_FCC = 4,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum FramelockMatrix FramelockMatrix;
#else
typedef uint32_t FramelockMatrix;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Which sample values mean black and white.
 */
enum FramelockRange
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Luma from 16 to 235, chroma from 16 to 240.
     */
    FRAMELOCK_RANGE_LIMITED = 0,
    /**
     * 0 to 255, as in JPEG.
     */
    FRAMELOCK_RANGE_FULL = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum FramelockRange FramelockRange;
#else
typedef uint32_t FramelockRange;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Whether a camera's source is up.
 */
enum FramelockCameraState
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Connecting for the first time.
     */
    FRAMELOCK_CAMERA_STATE_STARTING = 0,
    /**
     * Connected.
     */
    FRAMELOCK_CAMERA_STATE_LIVE = 1,
    /**
     * Down; it keeps reconnecting.
     */
    FRAMELOCK_CAMERA_STATE_BROKEN = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum FramelockCameraState FramelockCameraState;
#else
typedef uint32_t FramelockCameraState;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What becomes of packets that a consumer is too slow for.
 */
enum FramelockQueue
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * The newest are kept; older ones give way and are counted as skipped.
     */
    FRAMELOCK_QUEUE_NEWEST = 0,
    /**
     * Every packet is wanted: sources that can wait, such as files, wait. Live cameras cannot: once there are 256
     * packets more than said, the oldest gives way and is counted as skipped.
     */
    FRAMELOCK_QUEUE_ALL = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum FramelockQueue FramelockQueue;
#else
typedef uint32_t FramelockQueue;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * A running aggregator: it receives on threads of its own from its start on, until it is closed.
 */
typedef struct FramelockAggregator FramelockAggregator;

/**
 * What an aggregator is started with: its cameras, and how it puts their frames together.
 */
typedef struct FramelockConfig FramelockConfig;

/**
 * One camera's part of a packet, whether or not it has a frame. It is the packet's, and lives as long.
 */
typedef struct FramelockFrame FramelockFrame;

/**
 * One frame of every camera that has one for an instant. It does not change, may be used from any thread, and lives
 * until framelock_packet_release() has been called as often as it was handed out.
 */
typedef struct FramelockPacket FramelockPacket;

/**
 * What was known of every camera at one moment. It does not change.
 */
typedef struct FramelockStatus FramelockStatus;

/**
 * A consumer of an aggregator's packets, with its own pace and choice of pixels. It may be used from any thread;
 * threads that share one share its packets. It may outlive its aggregator.
 */
typedef struct FramelockSubscription FramelockSubscription;

/**
 * What went wrong, in the caller's own memory: nothing has to be freed.
 */
typedef struct {
    /**
     * As the function returned it; #FRAMELOCK_RESULT_OK after a call that did not fail.
     */
    FramelockResult result;
    /**
     * What is wrong, where and what to do, in a line or two of UTF-8 for people; empty after a call that did not
     * fail.
     */
    char message[FRAMELOCK_MESSAGE_SIZE];
} FramelockError;

/**
 * What a consumer wants. Set it to zero before setting what is wanted, for example
 * `FramelockSubscribeOptions options = {.pixels = FRAMELOCK_PIXELS_BGR};`
 */
typedef struct {
    /**
     * What images framelock_frame_image() gives. Nothing is decoded while no consumer wants images or motion vectors.
     */
    FramelockPixels pixels;
    /**
     * 1 for motion vectors, 0 for none: see framelock_frame_motion_vectors().
     */
    uint32_t motion_vectors;
    /**
     * What becomes of packets that the consumer is too slow for.
     */
    FramelockQueue queue;
    /**
     * How many packets are kept for it, at most 100,000; 0 is taken as 1.
     */
    uint32_t packets;
    /**
     * Must be 0.
     */
    uint64_t reserved[4];
} FramelockSubscribeOptions;

/**
 * What became of the packets for a consumer. `offered` is always `delivered + skipped +` what still waits.
 */
typedef struct {
    /**
     * Packets since it subscribed.
     */
    uint64_t offered;
    /**
     * Packets that it got.
     */
    uint64_t delivered;
    /**
     * Packets that gave way to newer ones because it was slow.
     */
    uint64_t skipped;
} FramelockCounters;

/**
 * What is known of a packet.
 */
typedef struct {
    /**
     * Counts packets, from 0. A gap: packets that this consumer was too slow for.
     */
    uint64_t number;
    /**
     * The instant the set stands for, the median of its frames' times: ns since the Unix epoch, UTC.
     */
    int64_t time_ns;
    /**
     * Latest minus earliest capture time of its frames, in ns.
     */
    int64_t spread_ns;
    /**
     * The most that the true spread can be, in ns: `spread_ns` as the frames' uncertainties allow it.
     */
    int64_t spread_bound_ns;
    /**
     * Whether every camera has a frame.
     */
    bool complete;
} FramelockPacketInfo;

/**
 * What is known of a camera's part of a packet. Where the status is not #FRAMELOCK_FRAME_STATUS_OKAY, all but
 * `camera` and `status` is 0 and NULL.
 */
typedef struct {
    /**
     * The camera's name.
     */
    const char *camera;
    /**
     * Whether it has a frame, and why not.
     */
    FramelockFrameStatus status;
    /**
     * Where `time_ns` comes from.
     */
    FramelockTimeSource time_source;
    /**
     * When it was captured: ns since the Unix epoch, UTC.
     */
    int64_t time_ns;
    /**
     * The true capture instant lies within this many ns of `time_ns`, before or after.
     */
    int64_t uncertainty_ns;
    /**
     * How it is predicted.
     */
    FramelockFrameType frame_type;
    /**
     * What `data` is.
     */
    FramelockCodec codec;
    /**
     * Pixels in a row; 0 while the stream has not said so.
     */
    uint32_t width;
    /**
     * Rows; 0 while the stream has not said so.
     */
    uint32_t height;
    /**
     * Counts the camera's frames as received, from 0.
     */
    uint64_t sequence;
    /**
     * The compressed picture as received, `size` bytes.
     */
    const uint8_t *data;
    /**
     * Bytes of `data`.
     */
    size_t size;
    /**
     * Whether decoding can begin here.
     */
    bool key;
} FramelockFrameInfo;

/**
 * An image, in memory that is its packet's.
 */
typedef struct {
    /**
     * The first pixel of the first row; rows are `stride` bytes apart.
     */
    const uint8_t *data;
    /**
     * Bytes from one row to the next.
     */
    size_t stride;
    /**
     * Pixels in a row.
     */
    uint32_t width;
    /**
     * Rows.
     */
    uint32_t height;
    /**
     * What the bytes of a pixel are.
     */
    FramelockPixels pixels;
} FramelockImage;

/**
 * A decoded picture as it came out of the decoder, planar YUV, in memory that is its packet's.
 */
typedef struct {
    /**
     * The first sample of luma, blue-difference and red-difference; the last two NULL where there is no chroma.
     */
    const uint8_t *data[3];
    /**
     * Bytes from one row to the next.
     */
    size_t stride[3];
    /**
     * Luma pixels in a row.
     */
    uint32_t width;
    /**
     * Luma rows.
     */
    uint32_t height;
    /**
     * How much chroma there is.
     */
    FramelockChroma chroma;
    /**
     * How colours are made of the samples.
     */
    FramelockMatrix matrix;
    /**
     * What is black and what is white.
     */
    FramelockRange range;
    /**
     * Bits of a sample; those with more than 8 take two bytes, the lower one first.
     */
    uint32_t depth;
} FramelockPlanes;

/**
 * One motion vector of a block, with the fields of FFmpeg's AVMotionVector (libavutil/motion_vector.h) but for its
 * flags, which are unused.
 *
 * The block at `dst` in this frame was predicted from `src` in a reference frame: `src_x = dst_x + motion_x /
 * motion_scale`, and so for y. Positions are those of the block's centre, in pixels from the upper left corner.
 */
typedef struct {
    /**
     * Where the block comes from: negative for a past frame, positive for one to come.
     */
    int32_t source;
    /**
     * The block's width in pixels: 4, 8 or 16.
     */
    uint8_t w;
    /**
     * The block's height in pixels: 4, 8 or 16.
     */
    uint8_t h;
    /**
     * Where the block comes from, x.
     */
    int16_t src_x;
    /**
     * Where the block comes from, y.
     */
    int16_t src_y;
    /**
     * Where the block is, x.
     */
    int16_t dst_x;
    /**
     * Where the block is, y.
     */
    int16_t dst_y;
    /**
     * Motion in units of `1 / motion_scale` pixels, x.
     */
    int32_t motion_x;
    /**
     * Motion in units of `1 / motion_scale` pixels, y.
     */
    int32_t motion_y;
    /**
     * Units of motion in a pixel: 4 for H.264.
     */
    uint16_t motion_scale;
} FramelockMotionVector;

/**
 * A camera's state and counters.
 */
typedef struct {
    /**
     * Its name.
     */
    const char *name;
    /**
     * Whether its source is up.
     */
    FramelockCameraState state;
    /**
     * Why it is broken, or why it has not started yet, in one line for people; NULL where there is nothing to say.
     */
    const char *reason;
    /**
     * The sender's address, host and port; NULL while it is not known.
     */
    const char *address;
    /**
     * Datagrams or messages that arrived.
     */
    uint64_t packets;
    /**
     * Bytes that arrived, without headers below RTP.
     */
    uint64_t bytes;
    /**
     * RTP packets that never came.
     */
    uint64_t lost;
    /**
     * Good frames that arrived.
     */
    uint64_t frames;
    /**
     * Frames with a hole, or that refer to one that had.
     */
    uint64_t damaged;
    /**
     * Frames and read errors that came out in a packet.
     */
    uint64_t used;
    /**
     * Frames passed over: another one was better, or no packet was made for their instant.
     */
    uint64_t skipped;
    /**
     * Frames that came after the packet that they belong to had been delivered.
     */
    uint64_t late;
    /**
     * Where the time of its last good frame comes from; #FRAMELOCK_TIME_SOURCE_NONE before the first, and then the
     * times below are 0.
     */
    FramelockTimeSource time_source;
    /**
     * When its last good frame was captured: ns since the Unix epoch, UTC.
     */
    int64_t time_ns;
    /**
     * The bound on the error of `time_ns`, in ns.
     */
    int64_t uncertainty_ns;
    /**
     * From the capture of its last good frame to its arrival here, in ns, by this machine's clock.
     */
    int64_t transit_ns;
} FramelockCameraStatus;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library in use, such as "0.1.0". A constant string.
 */
const char *framelock_version(void);

/**
 * The binary interface of the library in use: compare it to #FRAMELOCK_ABI where the library is loaded by hand.
 * The system's loader does so by the library's name.
 */
uint32_t framelock_abi(void);

/**
 * Writes the log to standard error from now on, as lines for people or, if `json`, as JSON objects; without this
 * there is none. The environment variable RUST_LOG chooses what is logged, "info" if it is not set.
 *
 * Fails with #FRAMELOCK_RESULT_FAILED when it has been called before, or RUST_LOG is no filter.
 */
FramelockResult framelock_log_to_stderr(bool json,
                                        FramelockError *error);

/**
 * A config without cameras. It is the caller's, to be freed with framelock_config_free(). Never NULL.
 */
FramelockConfig *framelock_config_new(void);

/**
 * Frees a config; nothing happens for NULL. An aggregator that was started with it goes on.
 */
void framelock_config_free(FramelockConfig *config);

/**
 * Takes all settings from the configuration file `path` (TOML, as framelock-aggregator reads it), in place of what
 * was set before. What concerns that program alone (queue, decode, output) has no effect here.
 *
 * Fails with #FRAMELOCK_RESULT_CONFIG when the file cannot be read or is wrong; the message says where.
 */
FramelockResult framelock_config_read(FramelockConfig *config,
                                      const char *path,
                                      FramelockError *error);

/**
 * Adds a camera, after those that there are: its name, 1 to 64 printable characters, and its source, such as
 * "rtp://:5000" or "rtsp://user:password@host/path". The name "*" makes every sender that arrives on an rtp://
 * source a camera, named by its sender.
 *
 * Fails with #FRAMELOCK_RESULT_CONFIG when the name or the source cannot be. Whether names and ports are there
 * only once is seen when the aggregator starts.
 */
FramelockResult framelock_config_add_camera(FramelockConfig *config,
                                            const char *name,
                                            const char *source,
                                            FramelockError *error);

/**
 * Which frames make a packet: "tightest" (the default), "last-before" or "exact:TOLERANCE", for example "exact:5ms".
 *
 * Fails with #FRAMELOCK_RESULT_CONFIG for another text.
 */
FramelockResult framelock_config_set_policy(FramelockConfig *config,
                                            const char *policy,
                                            FramelockError *error);

/**
 * How many packets a second: as many as the "slowest" camera alive has frames (the default), the "fastest", or a
 * number with up to three decimals, for example "29.97".
 *
 * Fails with #FRAMELOCK_RESULT_CONFIG for another text.
 */
FramelockResult framelock_config_set_rate(FramelockConfig *config,
                                          const char *rate,
                                          FramelockError *error);

/**
 * How long a packet waits for frames after its first, in ns, 0 to 60 s; two frame periods if it is not set.
 *
 * Fails with #FRAMELOCK_RESULT_CONFIG for another time.
 */
FramelockResult framelock_config_set_max_wait_ns(FramelockConfig *config,
                                                 int64_t max_wait_ns,
                                                 FramelockError *error);

/**
 * The most senders of one "*" source that become cameras, 1 to 1024; 64 if it is not set.
 *
 * Fails with #FRAMELOCK_RESULT_CONFIG for another number.
 */
FramelockResult framelock_config_set_max_cameras(FramelockConfig *config,
                                                 size_t max_cameras,
                                                 FramelockError *error);

/**
 * Serves this machine's clock to the boards by NTP on UDP port `port`, or where that is 0, on one that the system
 * chooses: see framelock_aggregator_ntp_address(). `address` is the IP address to listen on; NULL for all.
 * `local_stratum`, 1 to 15: on a network without any other time, the stratum at which this machine's clock is the
 * reference; 0 for none.
 *
 * Fails with #FRAMELOCK_RESULT_CONFIG when the address is none or the stratum out of range.
 */
FramelockResult framelock_config_set_ntp(FramelockConfig *config,
                                         const char *address,
                                         uint16_t port,
                                         uint8_t local_stratum,
                                         FramelockError *error);

/**
 * Starts an aggregator with the settings that `config` has now, and gives it in `*aggregator`: the caller's, to be
 * freed with framelock_aggregator_free(). There may be no camera yet: see framelock_aggregator_add_camera().
 *
 * Fails with #FRAMELOCK_RESULT_CONFIG when a name or a port is another camera's, and with #FRAMELOCK_RESULT_START when
 * the system does not give what is needed, such as a port.
 */
FramelockResult framelock_aggregator_start(const FramelockConfig *config,
                                           FramelockAggregator **aggregator,
                                           FramelockError *error);

/**
 * Stops receiving, frees the ports, and ends all subscriptions: whoever waits for their packets gets
 * #FRAMELOCK_RESULT_CLOSED, as does every later call. Packets that were taken remain. Waits for the aggregator's
 * threads. May be called while other threads use the aggregator, and more than once; nothing happens for NULL.
 */
void framelock_aggregator_close(FramelockAggregator *aggregator);

/**
 * Closes and frees an aggregator; nothing happens for NULL. Its subscriptions are not freed with it.
 */
void framelock_aggregator_free(FramelockAggregator *aggregator);

/**
 * Adds a camera while packets go on: as framelock_config_add_camera(). From now on it is in every packet, after
 * those that there are.
 *
 * Fails with #FRAMELOCK_RESULT_CONFIG when the name or the source cannot be or is another camera's, and with
 * #FRAMELOCK_RESULT_START when its port cannot be had.
 */
FramelockResult framelock_aggregator_add_camera(FramelockAggregator *aggregator,
                                                const char *name,
                                                const char *source,
                                                FramelockError *error);

/**
 * Removes a camera while packets go on, and frees its port or ends its connection. From now on it is in no packet.
 * "*" removes every "*" source with the cameras that came to it; one of these by its own name is removed once its
 * sender is silent, and comes again with it.
 *
 * Fails with #FRAMELOCK_RESULT_CONFIG when there is none of that name, or it would come again at once.
 */
FramelockResult framelock_aggregator_remove_camera(FramelockAggregator *aggregator,
                                                   const char *name,
                                                   FramelockError *error);

/**
 * A new consumer, which gets the packets from now on, at its own pace and with its own choice of pixels, in
 * `*subscription`: the caller's, to be freed with framelock_subscription_free(). There may be several; none holds
 * up another. NULL `options` are those that are all zero: the newest packet, without pixels.
 *
 * Fails with #FRAMELOCK_RESULT_ARGUMENT for options that cannot be, with #FRAMELOCK_RESULT_START when this build has
 * no decoder for what is wanted, and with #FRAMELOCK_RESULT_CLOSED.
 */
FramelockResult framelock_aggregator_subscribe(FramelockAggregator *aggregator,
                                               const FramelockSubscribeOptions *options,
                                               FramelockSubscription **subscription,
                                               FramelockError *error);

/**
 * What is known of every camera now, in `*status`: the caller's, to be freed with framelock_status_free(). The
 * aggregator renews it four times a second.
 *
 * Fails with #FRAMELOCK_RESULT_CLOSED.
 */
FramelockResult framelock_aggregator_status(FramelockAggregator *aggregator,
                                            FramelockStatus **status,
                                            FramelockError *error);

/**
 * Where the NTP service listens, address and port, such as "127.0.0.1:11123"; NULL where there is none. It lives
 * until the aggregator is freed.
 */
const char *framelock_aggregator_ntp_address(const FramelockAggregator *aggregator);

/**
 * Waits for the next packet, at most `timeout_ns` ns (0: takes it if it is there; negative, such as
 * #FRAMELOCK_FOREVER: as long as it takes), and gives it in `*packet`: the caller's, to be given back with
 * framelock_packet_release(). Where a packet is there in time and has JPEG frames to decode, these are waited for.
 *
 * Returns #FRAMELOCK_RESULT_TIMEOUT when there is none in time, and when there will be none any more,
 * #FRAMELOCK_RESULT_ENDED or #FRAMELOCK_RESULT_CLOSED.
 */
FramelockResult framelock_subscription_next(FramelockSubscription *subscription,
                                            int64_t timeout_ns,
                                            FramelockPacket **packet,
                                            FramelockError *error);

/**
 * Gives a file descriptor for poll(), select() and event loops in `*fd`: it can be read when
 * framelock_subscription_next() with a timeout of 0 may have something to say. Do not read from it or close it: it
 * is the subscription's and lives as long. Look again after a second without a word: a packet whose pictures do not
 * come becomes ready by time alone.
 *
 * Fails with #FRAMELOCK_RESULT_FAILED when the system has no descriptor left.
 */
FramelockResult framelock_subscription_fd(FramelockSubscription *subscription,
                                          int *fd,
                                          FramelockError *error);

/**
 * What became of the packets so far, in `*counters`.
 *
 * Fails with #FRAMELOCK_RESULT_CLOSED after framelock_subscription_close().
 */
FramelockResult framelock_subscription_counters(const FramelockSubscription *subscription,
                                                FramelockCounters *counters,
                                                FramelockError *error);

/**
 * Ends the subscription: whoever waits for its packets gets #FRAMELOCK_RESULT_CLOSED, as does every later call.
 * Packets that were taken remain. May be called while other threads use it, and more than once; nothing happens
 * for NULL.
 */
void framelock_subscription_close(FramelockSubscription *subscription);

/**
 * Closes and frees a subscription; nothing happens for NULL. Packets that were taken remain.
 */
void framelock_subscription_free(FramelockSubscription *subscription);

/**
 * What is known of a packet; NULL for NULL. It is the packet's, and lives as long.
 */
const FramelockPacketInfo *framelock_packet_info(const FramelockPacket *packet);

/**
 * How many cameras there are, with and without a frame; 0 for NULL.
 */
size_t framelock_packet_count(const FramelockPacket *packet);

/**
 * The part of the camera at `index`, in configured order; NULL where there is none.
 */
const FramelockFrame *framelock_packet_frame(const FramelockPacket *packet, size_t index);

/**
 * The part of the camera called `camera`; NULL where there is none.
 */
const FramelockFrame *framelock_packet_find(const FramelockPacket *packet, const char *camera);

/**
 * Hands the packet out once more, for another part of the program: it is to be released once more. Returns `packet`.
 */
FramelockPacket *framelock_packet_retain(FramelockPacket *packet);

/**
 * Gives a packet back; nothing happens for NULL. When it was given back as often as it was handed out, it and all that
 * is its own are freed: frames, images, motion vectors.
 */
void framelock_packet_release(FramelockPacket *packet);

/**
 * What is known of a camera's part of a packet; NULL for NULL. It is the packet's, and lives as long.
 */
const FramelockFrameInfo *framelock_frame_info(const FramelockFrame *frame);

/**
 * The frame's image in the layout that the subscription asked for, in `*image`. It is made when first asked for, and
 * the same memory from then on, which is the packet's and lives as long. Threads may ask at once.
 *
 * Fails with #FRAMELOCK_RESULT_NO_FRAME, with #FRAMELOCK_RESULT_NOT_REQUESTED where the subscription asked for no pixels,
 * and with #FRAMELOCK_RESULT_FAILED for a picture with more than 8 bits a sample. `*image` is all 0 then.
 */
FramelockResult framelock_frame_image(const FramelockFrame *frame,
                                      FramelockImage *image,
                                      FramelockError *error);

/**
 * Writes the frame's image to memory of the caller's, straight from the decoder's planes: to the `size` bytes at
 * `to`, in the layout `pixels`, whatever the subscription asked for, rows `stride` bytes apart. Bytes between rows
 * are left as they are.
 *
 * Fails as framelock_frame_image(), and with #FRAMELOCK_RESULT_ARGUMENT where the image needs more than `size` bytes or
 * a row more than `stride`; the message says how many.
 */
FramelockResult framelock_frame_convert(const FramelockFrame *frame,
                                        FramelockPixels pixels,
                                        uint8_t *to,
                                        size_t size,
                                        size_t stride,
                                        FramelockError *error);

/**
 * The decoded picture as it came out of the decoder, without a copy, in `*planes`.
 *
 * Fails with #FRAMELOCK_RESULT_NO_FRAME, and with #FRAMELOCK_RESULT_NOT_REQUESTED where the subscription asked for no
 * pixels. `*planes` is all 0 then.
 */
FramelockResult framelock_frame_planes(const FramelockFrame *frame,
                                       FramelockPlanes *planes,
                                       FramelockError *error);

/**
 * The frame's motion vectors, `*count` of them at `*vectors`, in the decoder's order; 0 and NULL for a frame without
 * any, such as an I frame or a JPEG. They are the packet's, and live as long.
 *
 * Fails with #FRAMELOCK_RESULT_NO_FRAME, and with #FRAMELOCK_RESULT_NOT_REQUESTED where the subscription asked for none.
 */
FramelockResult framelock_frame_motion_vectors(const FramelockFrame *frame,
                                               const FramelockMotionVector **vectors,
                                               size_t *count,
                                               FramelockError *error);

/**
 * How many cameras there are; 0 for NULL.
 */
size_t framelock_status_count(const FramelockStatus *status);

/**
 * The camera at `index`, in configured order; NULL where there is none. It and its strings live as long as the
 * status.
 */
const FramelockCameraStatus *framelock_status_camera(const FramelockStatus *status,
                                                     size_t index);

/**
 * Frees a status; nothing happens for NULL.
 */
void framelock_status_free(FramelockStatus *status);

/**
 * The word for a status, as in the JSON form of packets: "okay", "read-error". A constant string; "unknown" for
 * a value that is none.
 */
const char *framelock_frame_status_name(FramelockFrameStatus status);

/**
 * The word for a time source, as in the JSON form of packets: "sender-report". A constant string; "unknown" where
 * there is no frame and for a value that is none.
 */
const char *framelock_time_source_name(FramelockTimeSource source);

/**
 * "I", "P" or "B". A constant string; "unknown" for any other value.
 */
const char *framelock_frame_type_name(FramelockFrameType kind);

/**
 * "h264" or "jpeg". A constant string; "unknown" for any other value.
 */
const char *framelock_codec_name(FramelockCodec codec);

/**
 * "starting", "live" or "broken". A constant string; "unknown" for any other value.
 */
const char *framelock_camera_state_name(FramelockCameraState state);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* FRAMELOCK_H */
