/// Packets, their frames, and what can be wrong: the part of framelock.hpp that stands by itself. Programs include that.
#ifndef FRAMELOCK_PACKET_HPP
#define FRAMELOCK_PACKET_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include <framelock.h>

namespace framelock {

using std::chrono::nanoseconds;

/// An instant, UTC, to the nanosecond.
using Time = std::chrono::time_point<std::chrono::system_clock, nanoseconds>;

/// Why a camera has a frame in a packet, or why not.
enum class FrameStatus : std::uint32_t {
    okay = FRAMELOCK_FRAME_STATUS_OKAY,
    dropped = FRAMELOCK_FRAME_STATUS_DROPPED,
    read_error = FRAMELOCK_FRAME_STATUS_READ_ERROR,
    broken = FRAMELOCK_FRAME_STATUS_BROKEN,
    starting = FRAMELOCK_FRAME_STATUS_STARTING,
};

/// Where a frame's capture time comes from, best first.
enum class TimeSource : std::uint32_t {
    sender_report = FRAMELOCK_TIME_SOURCE_SENDER_REPORT,
    in_band = FRAMELOCK_TIME_SOURCE_IN_BAND,
    sei = FRAMELOCK_TIME_SOURCE_SEI,
    arrival = FRAMELOCK_TIME_SOURCE_ARRIVAL,
};

/// How a frame is predicted.
enum class FrameType : std::uint32_t {
    i = FRAMELOCK_FRAME_TYPE_I,
    p = FRAMELOCK_FRAME_TYPE_P,
    b = FRAMELOCK_FRAME_TYPE_B,
};

/// How a frame's compressed data is coded.
enum class Codec : std::uint32_t {
    h264 = FRAMELOCK_CODEC_H264,
    jpeg = FRAMELOCK_CODEC_JPEG,
};

/// Whether a camera's source is up.
enum class CameraState : std::uint32_t {
    starting = FRAMELOCK_CAMERA_STATE_STARTING,
    live = FRAMELOCK_CAMERA_STATE_LIVE,
    broken = FRAMELOCK_CAMERA_STATE_BROKEN,
};

/// What images a consumer wants, and how an image is laid out.
enum class Pixels : std::uint32_t {
    none = FRAMELOCK_PIXELS_NONE,
    bgr = FRAMELOCK_PIXELS_BGR,
    rgb = FRAMELOCK_PIXELS_RGB,
    gray = FRAMELOCK_PIXELS_GRAY,
};

/// What becomes of packets that a consumer is too slow for.
enum class Queue : std::uint32_t {
    newest = FRAMELOCK_QUEUE_NEWEST,
    all = FRAMELOCK_QUEUE_ALL,
};

/// "okay", "dropped", "read-error", "broken" or "starting".
inline std::string_view to_string(FrameStatus status) {
    return framelock_frame_status_name(static_cast<FramelockFrameStatus>(status));
}
/// "sender-report", "in-band", "sei" or "arrival".
inline std::string_view to_string(TimeSource source) {
    return framelock_time_source_name(static_cast<FramelockTimeSource>(source));
}
/// "I", "P" or "B".
inline std::string_view to_string(FrameType type) {
    return framelock_frame_type_name(static_cast<FramelockFrameType>(type));
}
/// "h264" or "jpeg".
inline std::string_view to_string(Codec codec) {
    return framelock_codec_name(static_cast<FramelockCodec>(codec));
}
/// "starting", "live" or "broken".
inline std::string_view to_string(CameraState state) {
    return framelock_camera_state_name(static_cast<FramelockCameraState>(state));
}

/// Whatever goes wrong; what() says what, where and what to do.
class Error : public std::runtime_error {
  public:
    Error(FramelockResult result, const std::string &message) : std::runtime_error(message), result_(result) {}

    /// What the C function returned.
    FramelockResult result() const noexcept { return result_; }

  private:
    FramelockResult result_;
};

/// A setting, a camera or a source that cannot be.
struct ConfigError : Error {
    using Error::Error;
};
/// The system does not give what is needed: a port, a thread, a decoder.
struct StartError : Error {
    using Error::Error;
};
/// The aggregator or the subscription has been closed.
struct ClosedError : Error {
    using Error::Error;
};
/// Every source has come to its end, as files do. A loop over packets simply ends.
struct StreamEnded : Error {
    using Error::Error;
};
/// The camera has no frame in this packet; its status says why.
struct NoFrameError : Error {
    using Error::Error;
};
/// The subscription did not ask for this: pixels or motion vectors.
struct NotRequestedError : Error {
    using Error::Error;
};

namespace detail {

[[noreturn]] inline void raise(FramelockResult result, const std::string &message) {
    switch (result) {
    case FRAMELOCK_RESULT_CONFIG: throw ConfigError(result, message);
    case FRAMELOCK_RESULT_START: throw StartError(result, message);
    case FRAMELOCK_RESULT_CLOSED: throw ClosedError(result, message);
    case FRAMELOCK_RESULT_ENDED: throw StreamEnded(result, message);
    case FRAMELOCK_RESULT_NO_FRAME: throw NoFrameError(result, message);
    case FRAMELOCK_RESULT_NOT_REQUESTED: throw NotRequestedError(result, message);
    default: throw Error(result, message);
    }
}

/// Calls a C function, with its error as the last argument, and throws what it says.
template <typename Function, typename... Arguments>
void call(Function function, Arguments... arguments) {
    FramelockError error;
    const FramelockResult result = function(arguments..., &error);
    if (result != FRAMELOCK_RESULT_OK) raise(result, error.message);
}

template <typename T, void (*free)(T *)>
struct Free {
    void operator()(T *object) const noexcept { free(object); }
};

/// An object of the library's that is ours.
template <typename T, void (*free)(T *)>
using Owned = std::unique_ptr<T, Free<T, free>>;

inline Time time(std::int64_t unix_ns) {
    return Time(nanoseconds(unix_ns));
}

inline std::optional<std::string> optional_text(const char *text) {
    return text == nullptr ? std::nullopt : std::optional<std::string>(text);
}

} // namespace detail

/// Elements that are somebody else's, one after the other in memory.
template <typename T>
class View {
  public:
    View(const T *data, std::size_t size) noexcept : data_(data), size_(size) {}

    const T *data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    const T *begin() const noexcept { return data_; }
    const T *end() const noexcept { return data_ + size_; }
    const T &operator[](std::size_t index) const noexcept { return data_[index]; }

  private:
    const T *data_;
    std::size_t size_;
};

/// A decoded picture as it came out of the decoder, planar YUV.
using Planes = FramelockPlanes;
/// A motion vector of a block, with the fields of FFmpeg's AVMotionVector.
using MotionVector = FramelockMotionVector;
/// What became of the packets for a consumer.
using Counters = FramelockCounters;

/// An image, in memory that is its packet's.
struct Image {
    const std::uint8_t *data;
    /// Bytes from one row to the next.
    std::size_t stride;
    /// Pixels in a row.
    std::uint32_t width;
    /// Rows.
    std::uint32_t height;
    Pixels pixels;

    /// The first byte of row `y`.
    const std::uint8_t *row(std::size_t y) const noexcept { return data + y * stride; }
};

/// One camera's part of a packet: a pointer to it, to be used while the packet lives.
///
/// True where the camera has a frame; everything but camera() and status() throws a NoFrameError where it has none.
class Frame {
  public:
    explicit Frame(const FramelockFrame *frame) noexcept : frame_(frame), info_(framelock_frame_info(frame)) {}

    /// The camera's name.
    std::string_view camera() const noexcept { return info_->camera; }
    /// Whether it has a frame, and why not.
    FrameStatus status() const noexcept { return static_cast<FrameStatus>(info_->status); }
    explicit operator bool() const noexcept { return info_->status == FRAMELOCK_FRAME_STATUS_OKAY; }

    /// When it was captured.
    Time time() const { return detail::time(get().time_ns); }
    /// The true capture instant lies within this of time(), before or after.
    nanoseconds uncertainty() const { return nanoseconds(get().uncertainty_ns); }
    /// Where time() comes from.
    TimeSource time_source() const { return static_cast<TimeSource>(get().time_source); }
    /// How it is predicted; nothing where the stream does not say so.
    std::optional<FrameType> frame_type() const {
        const FramelockFrameType type = get().frame_type;
        if (type == FRAMELOCK_FRAME_TYPE_UNKNOWN) return std::nullopt;
        return static_cast<FrameType>(type);
    }
    /// What data() is.
    Codec codec() const { return static_cast<Codec>(get().codec); }
    /// Whether decoding can begin here.
    bool key() const { return get().key; }
    /// Pixels in a row; nothing while the stream has not said so.
    std::optional<std::uint32_t> width() const { return known(get().width); }
    /// Rows; nothing while the stream has not said so.
    std::optional<std::uint32_t> height() const { return known(get().height); }
    /// Counts the camera's frames as received, from 0.
    std::uint64_t sequence() const { return get().sequence; }
    /// The compressed picture as received.
    View<std::uint8_t> data() const { return {get().data, get().size}; }

    /// The image in the layout that the subscription asked for. It is made when first asked for, and the same memory
    /// from then on.
    Image image() const {
        FramelockImage image;
        detail::call(framelock_frame_image, frame_, &image);
        return {image.data, image.stride, image.width, image.height, static_cast<Pixels>(image.pixels)};
    }

    /// Writes the image to the `size` bytes at `to`, in the layout `pixels`, rows `stride` bytes apart, straight from the
    /// decoder's planes.
    void convert(Pixels pixels, std::uint8_t *to, std::size_t size, std::size_t stride) const {
        detail::call(framelock_frame_convert, frame_, static_cast<FramelockPixels>(pixels), to, size, stride);
    }

    /// The picture as it came out of the decoder, without a copy.
    Planes planes() const {
        Planes planes;
        detail::call(framelock_frame_planes, frame_, &planes);
        return planes;
    }

    /// The motion vectors, in the decoder's order; none for an I frame.
    View<MotionVector> motion_vectors() const {
        const FramelockMotionVector *vectors;
        std::size_t count;
        detail::call(framelock_frame_motion_vectors, frame_, &vectors, &count);
        return {vectors, count};
    }

    /// For the functions of framelock.h.
    const FramelockFrame *get_c() const noexcept { return frame_; }

  private:
    const FramelockFrameInfo &get() const {
        if (!*this) {
            const std::string name(camera());
            const std::string why(to_string(status()));
            detail::raise(FRAMELOCK_RESULT_NO_FRAME, "camera \"" + name + "\" has no frame in this packet: " + why);
        }
        return *info_;
    }

    static std::optional<std::uint32_t> known(std::uint32_t size) {
        return size == 0 ? std::nullopt : std::optional<std::uint32_t>(size);
    }

    const FramelockFrame *frame_;
    const FramelockFrameInfo *info_;
};

/// One frame of every camera that has one for an instant: iterate over it, or index it by place or by name.
///
/// Its frames and all that these point to live as long as it, or as what share() gave.
class Packet {
  public:
    /// Goes through the frames of a packet.
    class Iterator {
      public:
        using iterator_category = std::input_iterator_tag;
        using value_type = Frame;
        using difference_type = std::ptrdiff_t;
        using pointer = void;
        using reference = Frame;

        Iterator(const FramelockPacket *packet, std::size_t index) noexcept : packet_(packet), index_(index) {}

        Frame operator*() const noexcept { return Frame(framelock_packet_frame(packet_, index_)); }
        Iterator &operator++() noexcept {
            ++index_;
            return *this;
        }
        Iterator operator++(int) noexcept { return {packet_, index_++}; }
        bool operator==(const Iterator &other) const noexcept { return index_ == other.index_; }
        bool operator!=(const Iterator &other) const noexcept { return index_ != other.index_; }

      private:
        const FramelockPacket *packet_;
        std::size_t index_;
    };

    /// Takes over a packet of framelock_subscription_next().
    explicit Packet(FramelockPacket *packet) noexcept : packet_(packet) {}

    /// The same packet, for another part of the program.
    Packet share() const noexcept { return Packet(framelock_packet_retain(packet_.get())); }

    /// Counts packets, from 0. A gap: packets that this consumer was too slow for.
    std::uint64_t number() const { return info().number; }
    /// The instant the set stands for, the median of its frames' times.
    Time time() const { return detail::time(info().time_ns); }
    /// Latest minus earliest capture time of its frames.
    nanoseconds spread() const { return nanoseconds(info().spread_ns); }
    /// The most that the true spread can be: spread() as the frames' uncertainties allow it.
    nanoseconds spread_bound() const { return nanoseconds(info().spread_bound_ns); }
    /// Whether every camera has a frame.
    bool complete() const { return info().complete; }

    /// How many cameras there are, with and without a frame.
    std::size_t size() const noexcept { return framelock_packet_count(packet_.get()); }
    Iterator begin() const noexcept { return {packet_.get(), 0}; }
    Iterator end() const noexcept { return {packet_.get(), size()}; }

    /// The part of the camera at `index`, in configured order. Throws std::out_of_range where there is none.
    Frame operator[](std::size_t index) const & {
        const FramelockFrame *frame = framelock_packet_frame(packet_.get(), index);
        if (frame == nullptr) throw std::out_of_range("framelock: no camera " + std::to_string(index) + " in the packet");
        return Frame(frame);
    }
    /// The part of the camera called `name`. Throws std::out_of_range where there is none.
    Frame operator[](std::string_view name) const & {
        const std::optional<Frame> frame = find(name);
        if (!frame) throw std::out_of_range("framelock: no camera \"" + std::string(name) + "\" in the packet");
        return *frame;
    }
    /// The part of the camera called `name`; nothing where there is none.
    std::optional<Frame> find(std::string_view name) const & {
        for (const Frame frame : *this) {
            if (frame.camera() == name) return frame;
        }
        return std::nullopt;
    }
    // The frame would not outlive the packet.
    Frame operator[](std::size_t index) const && = delete;
    Frame operator[](std::string_view name) const && = delete;
    std::optional<Frame> find(std::string_view name) const && = delete;

    /// For the functions of framelock.h.
    FramelockPacket *get_c() const noexcept { return packet_.get(); }

  private:
    const FramelockPacketInfo &info() const {
        const FramelockPacketInfo *info = framelock_packet_info(packet_.get());
        if (info == nullptr) throw Error(FRAMELOCK_RESULT_ARGUMENT, "this packet was moved from");
        return *info;
    }

    detail::Owned<FramelockPacket, framelock_packet_release> packet_;
};

} // namespace framelock

#endif
