/// Framelock for C++17: frames of many cameras, captured at the same instant, each with the UTC instant of its capture
/// and a bound on how wrong that can be.
///
///     framelock::Aggregator aggregator({{"left", "rtp://:5000"}, {"right", "rtp://:5002"}});
///     for (const framelock::Packet &packet : aggregator.subscribe({framelock::Pixels::bgr})) {
///         for (const framelock::Frame frame : packet) {
///             if (frame) {
///                 const framelock::Image image = frame.image();
///                 use(frame.camera(), frame.time(), frame.uncertainty(), image.data, image.stride);
///             }
///         }
///     }
///
/// Here are classes over the C functions of framelock.h, which tells more of what they mean: each owns what it stands
/// for, can be moved but not copied, and throws an Error with the library's message where a C function fails. What
/// a moved-from object is asked for is an Error too. Objects may be used from any thread, as in C.
#ifndef FRAMELOCK_HPP
#define FRAMELOCK_HPP

#include <algorithm>
#include <initializer_list>
#include <utility>
#include <vector>

#include <framelock_packet.hpp>

namespace framelock {

/// What a consumer wants.
struct SubscribeOptions {
    /// What images Frame::image() gives. Nothing is decoded while no consumer wants images or motion vectors.
    Pixels pixels = Pixels::none;
    /// Whether Frame::motion_vectors() is wanted.
    bool motion_vectors = false;
    /// What becomes of packets that the consumer is too slow for.
    Queue queue = Queue::newest;
    /// How many packets are kept for it, at least 1.
    std::uint32_t packets = 1;
};

/// One consumer of an aggregator's packets, with its own pace and choice of pixels: iterate over it or call next().
///
/// Threads that share one share its packets. It may outlive its aggregator.
class Subscription {
  public:
    /// Where a loop over packets ends.
    struct End {};

    /// Goes through the packets as they come. Ends where every source has come to its end.
    class Iterator {
      public:
        explicit Iterator(Subscription &packets) : packets_(&packets) { ++*this; }

        Packet &operator*() noexcept { return *packet_; }
        Packet *operator->() noexcept { return &*packet_; }
        Iterator &operator++() {
            // Before the next one is waited for: it may hold much memory.
            packet_.reset();
            try {
                packet_ = packets_->next();
            } catch (const StreamEnded &) {
            }
            return *this;
        }
        bool operator!=(End) const noexcept { return packet_.has_value(); }
        bool operator==(End) const noexcept { return !packet_.has_value(); }

      private:
        Subscription *packets_;
        std::optional<Packet> packet_;
    };

    /// Takes over a subscription of framelock_aggregator_subscribe().
    explicit Subscription(FramelockSubscription *subscription) noexcept : subscription_(subscription) {}

    /// The next packet; nothing if there is none within `timeout`, which is for ever where none is given. Throws
    /// StreamEnded or ClosedError where there will be none any more.
    std::optional<Packet> next(std::optional<nanoseconds> timeout = std::nullopt) {
        const std::int64_t timeout_ns = timeout ? std::max<std::int64_t>(timeout->count(), 0) : FRAMELOCK_FOREVER;
        FramelockPacket *packet;
        FramelockError error;
        const FramelockResult result = framelock_subscription_next(subscription_.get(), timeout_ns, &packet, &error);
        if (result == FRAMELOCK_RESULT_TIMEOUT) return std::nullopt;
        if (result != FRAMELOCK_RESULT_OK) detail::raise(result, error.message);
        return Packet(packet);
    }

    Iterator begin() { return Iterator(*this); }
    End end() noexcept { return {}; }

    /// A file descriptor for event loops: see framelock_subscription_fd().
    int fd() {
        int fd;
        detail::call(framelock_subscription_fd, subscription_.get(), &fd);
        return fd;
    }

    /// What became of the packets so far.
    Counters counters() const {
        Counters counters;
        detail::call(framelock_subscription_counters, subscription_.get(), &counters);
        return counters;
    }

    /// Ends the subscription: whoever waits for its packets gets a ClosedError.
    void close() noexcept { framelock_subscription_close(subscription_.get()); }

    /// For the functions of framelock.h.
    FramelockSubscription *get_c() const noexcept { return subscription_.get(); }

  private:
    detail::Owned<FramelockSubscription, framelock_subscription_free> subscription_;
};

/// What an aggregator is started with: its cameras, and how it puts their frames together.
class Config {
  public:
    Config() : config_(framelock_config_new()) {}

    /// The settings of a configuration file.
    static Config read(const std::string &path) {
        Config config;
        detail::call(framelock_config_read, config.get_c(), path.c_str());
        return config;
    }

    /// Adds a camera: its name and its source, such as "rtp://:5000".
    Config &add_camera(const std::string &name, const std::string &source) {
        detail::call(framelock_config_add_camera, get_c(), name.c_str(), source.c_str());
        return *this;
    }
    /// Which frames make a packet: "tightest", "last-before" or "exact:TOLERANCE".
    Config &set_policy(const std::string &policy) {
        detail::call(framelock_config_set_policy, get_c(), policy.c_str());
        return *this;
    }
    /// How many packets a second: "slowest", "fastest" or a number.
    Config &set_rate(const std::string &rate) {
        detail::call(framelock_config_set_rate, get_c(), rate.c_str());
        return *this;
    }
    /// How long a packet waits for frames after its first, up to 60 s.
    Config &set_max_wait(nanoseconds max_wait) {
        detail::call(framelock_config_set_max_wait_ns, get_c(), max_wait.count());
        return *this;
    }
    /// The most senders of one "*" source that become cameras.
    Config &set_max_cameras(std::size_t max_cameras) {
        detail::call(framelock_config_set_max_cameras, get_c(), max_cameras);
        return *this;
    }
    /// Serves this machine's clock to the boards by NTP: see framelock_config_set_ntp().
    Config &set_ntp(const std::string &address, std::uint16_t port, std::uint8_t local_stratum = 0) {
        detail::call(framelock_config_set_ntp, get_c(), address.c_str(), port, local_stratum);
        return *this;
    }
    /// As the other, on every address.
    Config &set_ntp(std::uint16_t port, std::uint8_t local_stratum = 0) {
        detail::call(framelock_config_set_ntp, get_c(), static_cast<const char *>(nullptr), port, local_stratum);
        return *this;
    }

    /// For the functions of framelock.h.
    FramelockConfig *get_c() const noexcept { return config_.get(); }

  private:
    detail::Owned<FramelockConfig, framelock_config_free> config_;
};

/// A camera's state and counters: see FramelockCameraStatus.
struct CameraStatus {
    /// What is remembered of its last good frame.
    struct LastFrame {
        Time time;
        nanoseconds uncertainty;
        TimeSource time_source;
        nanoseconds transit;
    };

    explicit CameraStatus(const FramelockCameraStatus &status)
        : name(status.name), state(static_cast<CameraState>(status.state)), reason(detail::optional_text(status.reason)),
          address(detail::optional_text(status.address)), packets(status.packets), bytes(status.bytes),
          lost(status.lost), frames(status.frames), damaged(status.damaged), used(status.used),
          skipped(status.skipped), late(status.late) {
        if (status.time_source != FRAMELOCK_TIME_SOURCE_NONE) {
            last = LastFrame{detail::time(status.time_ns), nanoseconds(status.uncertainty_ns),
                             static_cast<TimeSource>(status.time_source), nanoseconds(status.transit_ns)};
        }
    }

    std::string name;
    CameraState state;
    /// Why it is broken, or why it has not started yet.
    std::optional<std::string> reason;
    std::optional<std::string> address;
    std::uint64_t packets, bytes, lost, frames, damaged, used, skipped, late;
    /// Nothing before its first good frame.
    std::optional<LastFrame> last;
};

/// A running aggregator: it receives on threads of its own from its construction on, until it is closed or destroyed.
class Aggregator {
  public:
    explicit Aggregator(const Config &config) {
        FramelockAggregator *aggregator;
        detail::call(framelock_aggregator_start, config.get_c(), &aggregator);
        aggregator_.reset(aggregator);
    }
    /// Of these cameras, name and source.
    explicit Aggregator(std::initializer_list<std::pair<std::string, std::string>> cameras)
        : Aggregator(config_of(cameras)) {}

    /// A new consumer, which gets the packets from now on.
    Subscription subscribe(const SubscribeOptions &options = {}) {
        FramelockSubscribeOptions wanted = {};
        wanted.pixels = static_cast<FramelockPixels>(options.pixels);
        wanted.motion_vectors = options.motion_vectors ? 1 : 0;
        wanted.queue = static_cast<FramelockQueue>(options.queue);
        wanted.packets = options.packets;
        FramelockSubscription *subscription;
        detail::call(framelock_aggregator_subscribe, get_c(), &wanted, &subscription);
        return Subscription(subscription);
    }

    /// Adds a camera while packets go on.
    void add_camera(const std::string &name, const std::string &source) {
        detail::call(framelock_aggregator_add_camera, get_c(), name.c_str(), source.c_str());
    }
    /// Removes a camera while packets go on.
    void remove_camera(const std::string &name) {
        detail::call(framelock_aggregator_remove_camera, get_c(), name.c_str());
    }

    /// What is known of every camera, in configured order.
    std::vector<CameraStatus> status() const {
        FramelockStatus *status;
        detail::call(framelock_aggregator_status, get_c(), &status);
        const detail::Owned<FramelockStatus, framelock_status_free> owned(status);
        std::vector<CameraStatus> cameras;
        for (std::size_t n = 0; n < framelock_status_count(status); n++) {
            cameras.emplace_back(*framelock_status_camera(status, n));
        }
        return cameras;
    }

    /// Where the NTP service listens, address and port; nothing where there is none.
    std::optional<std::string> ntp_address() const {
        return detail::optional_text(framelock_aggregator_ntp_address(get_c()));
    }

    /// Stops receiving, frees the ports, and ends all subscriptions.
    void close() noexcept { framelock_aggregator_close(get_c()); }

    /// For the functions of framelock.h.
    FramelockAggregator *get_c() const noexcept { return aggregator_.get(); }

  private:
    static Config config_of(std::initializer_list<std::pair<std::string, std::string>> cameras) {
        Config config;
        for (const auto &[name, source] : cameras) config.add_camera(name, source);
        return config;
    }

    detail::Owned<FramelockAggregator, framelock_aggregator_free> aggregator_;
};

/// The version of the library in use.
inline std::string_view version() {
    return framelock_version();
}

/// Writes the log to standard error from now on: see framelock_log_to_stderr().
inline void log_to_stderr(bool json = false) {
    detail::call(framelock_log_to_stderr, json);
}

} // namespace framelock

#endif
