// The C++ classes against real senders: what they give is what the C functions give, they own what they stand for,
// and errors are exceptions.
#include <type_traits>

#include <framelock.hpp>

#include "support.h"

namespace {

using namespace std::chrono_literals;
using framelock::Aggregator;
using framelock::Frame;
using framelock::Packet;
using framelock::Subscription;

static_assert(std::is_nothrow_move_constructible_v<Packet> && std::is_nothrow_move_assignable_v<Packet>);
static_assert(!std::is_copy_constructible_v<Packet> && !std::is_copy_assignable_v<Packet>);
static_assert(std::is_nothrow_move_constructible_v<Subscription> && !std::is_copy_constructible_v<Subscription>);
static_assert(std::is_nothrow_move_constructible_v<Aggregator> && !std::is_copy_constructible_v<Aggregator>);
static_assert(std::is_nothrow_move_constructible_v<framelock::Config>);
static_assert(std::is_trivially_copyable_v<Frame>);

constexpr std::chrono::nanoseconds PATIENCE{PATIENCE_NS};

// That `action` throws an exception of that kind, with `text` in its message.
template <typename Kind, typename Action>
void expect(std::string_view text, Action action) {
    try {
        action();
    } catch (const Kind &error) {
        CHECK(std::string_view(error.what()).find(text) != std::string_view::npos, "%s", error.what());
        return;
    }
    CHECK(false, "no exception about %s", std::string(text).c_str());
}

Packet complete(Subscription &subscription) {
    for (;;) {
        std::optional<Packet> packet = subscription.next(PATIENCE);
        CHECK(packet, "no packet came");
        bool timed = packet->complete();
        for (const Frame frame : *packet) timed = timed && frame.time_source() != framelock::TimeSource::arrival;
        if (timed) return std::move(*packet);
    }
}

void packets_are_what_the_c_functions_say(Aggregator &aggregator) {
    Subscription subscription = aggregator.subscribe({framelock::Pixels::gray});
    int outside = 0;
    for (int count = 0; count < 30; count++) {
        const Packet packet = complete(subscription);
        const FramelockPacketInfo &info = *framelock_packet_info(packet.get_c());
        CHECK(packet.number() == info.number && packet.size() == 2, "%zu", packet.size());
        CHECK(packet.time().time_since_epoch().count() == info.time_ns, "its time");
        CHECK(packet.spread().count() == info.spread_ns && packet.spread_bound().count() == info.spread_bound_ns, "apart");
        CHECK(packet[0].camera() == "left" && packet["right"].get_c() == packet[1].get_c(), "by place and by name");
        CHECK(!packet.find("middle") && packet.find("left")->camera() == "left", "by name");
        for (const Frame frame : packet) {
            const FramelockFrameInfo &its = *framelock_frame_info(frame.get_c());
            CHECK(frame && frame.status() == framelock::FrameStatus::okay, "it is there");
            CHECK(frame.width() == 320u && frame.height() == 240u && frame.codec() == framelock::Codec::h264, "what it is");
            CHECK(frame.data().data() == its.data && frame.data().size() == its.size, "its data");
            CHECK(frame.sequence() == its.sequence && frame.key() == its.key && frame.frame_type(), "which it is");
            const framelock::Image image = frame.image();
            CHECK(image.pixels == framelock::Pixels::gray && image.width == 320 && image.row(1) == image.data + image.stride,
                  "its image");
            const auto truth = timecode(image.data, image.stride, image.width).time_ns;
            const auto error = std::chrono::abs(frame.time().time_since_epoch() - std::chrono::nanoseconds(truth));
            outside += error > frame.uncertainty();
        }
    }
    CHECK(outside <= 1, "%d of 60 times are further from the truth than said", outside);
}

void pictures_come_in_every_form(Aggregator &aggregator) {
    framelock::SubscribeOptions options;
    options.pixels = framelock::Pixels::bgr;
    options.motion_vectors = true;
    options.packets = 60;
    Subscription subscription = aggregator.subscribe(options);
    std::size_t vectors = 0;
    for (int count = 0; count < 30; count++) {
        const Packet packet = complete(subscription);
        const Frame frame = packet["left"];
        const framelock::Image image = frame.image();
        std::vector<std::uint8_t> bgr(240 * 1000);
        frame.convert(framelock::Pixels::bgr, bgr.data(), bgr.size(), 1000);
        for (std::size_t y = 0; y < 240; y++) CHECK(!memcmp(&bgr[y * 1000], image.row(y), 960), "row %zu", y);
        CHECK(frame.planes().width == 320 && frame.planes().chroma == FRAMELOCK_CHROMA_YUV420, "its planes");
        for (const framelock::MotionVector &vector : frame.motion_vectors()) vectors += vector.source < 0;
        expect<framelock::Error>("230400 bytes", [&] { frame.convert(framelock::Pixels::bgr, bgr.data(), 9, 960); });
    }
    CHECK(vectors > 100, "%zu vectors in 30 pictures", vectors);
}

void packets_are_owned(Aggregator &aggregator) {
    std::optional<Subscription> subscription(aggregator.subscribe({framelock::Pixels::bgr}));
    Packet packet = complete(*subscription);
    const std::uint8_t *data = packet[0].image().data;
    Packet shared = packet.share();
    Packet moved = std::move(packet);
    expect<framelock::Error>("moved from", [&] { packet.number(); });
    expect<std::out_of_range>("camera 0", [&] { (void)packet[0]; });
    subscription.reset();
    packet = std::move(moved);
    shared = std::move(packet);
    CHECK(shared[0].image().data == data, "another packet");
    expect<std::out_of_range>("camera 2", [&] { (void)shared[2]; });
    expect<std::out_of_range>("\"middle\"", [&] { (void)shared["middle"]; });
}

void loops_go_through_packets(Aggregator &aggregator) {
    std::uint64_t last = 0;
    int count = 0;
    for (const Packet &packet : aggregator.subscribe({framelock::Pixels::none, false, framelock::Queue::all, 5})) {
        CHECK(count == 0 || packet.number() == last + 1, "one is missing");
        last = packet.number();
        if (++count == 20) break;
    }
    Subscription subscription = aggregator.subscribe();
    CHECK(subscription.fd() >= 0, "no file");
    while (subscription.counters().offered < 3) CHECK(subscription.next(PATIENCE), "no packet came");
    const framelock::Counters counters = subscription.counters();
    CHECK(counters.delivered > 0 && counters.offered >= counters.delivered + counters.skipped, "counters");
}

void a_camera_without_a_frame_throws(Aggregator &aggregator) {
    char silent[64];
    silent_source(silent);
    aggregator.add_camera("absent", silent);
    expect<framelock::ConfigError>("absent", [&] { aggregator.add_camera("absent", silent); });
    Subscription subscription = aggregator.subscribe({framelock::Pixels::bgr});
    std::optional<Packet> packet = subscription.next(PATIENCE);
    while (packet && !packet->find("absent")) packet = subscription.next(PATIENCE);
    CHECK(packet && !packet->complete(), "complete without a camera");
    const Frame absent = (*packet)["absent"];
    CHECK(!absent && to_string(absent.status()) == "starting", "its status");
    expect<framelock::NoFrameError>("\"absent\" has no frame", [&] { absent.time(); });
    expect<framelock::NoFrameError>("\"absent\" has no frame", [&] { absent.image(); });
    expect<framelock::NoFrameError>("starting", [&] { absent.data(); });
    aggregator.remove_camera("absent");
    expect<framelock::ConfigError>("absent", [&] { aggregator.remove_camera("absent"); });
}

void cameras_have_a_status(Aggregator &aggregator) {
    const std::vector<framelock::CameraStatus> cameras = aggregator.status();
    CHECK(cameras.size() == 2 && cameras[1].name == "right", "%zu", cameras.size());
    CHECK(cameras[0].state == framelock::CameraState::live && to_string(cameras[0].state) == "live", "left is live");
    CHECK(!cameras[0].reason && cameras[0].address->find("127.0.0.1:") == 0, "its address");
    CHECK(cameras[0].frames > 30 && cameras[0].used > 10 && cameras[0].last->uncertainty > 0ns, "its counters");
    CHECK(!aggregator.ntp_address(), "there is no NTP service");
}

void what_is_wrong_is_an_exception(Aggregator &aggregator) {
    framelock::Config config;
    expect<framelock::ConfigError>("unknown kind of source", [&] { config.add_camera("a", "srt://:5000"); });
    expect<framelock::ConfigError>("/nowhere", [] { framelock::Config::read("/nowhere"); });
    config.set_policy("exact:5ms").set_rate("10").set_max_wait(50ms).set_max_cameras(3).set_ntp("127.0.0.1", 0, 10);
    CHECK(Aggregator(config).ntp_address()->find("127.0.0.1:") == 0, "its NTP service");
    expect<framelock::ConfigError>("stratum", [&] { config.set_ntp(1, 99); });
    char source[64];
    silent_source(source);
    Aggregator one({{"a", source}});
    expect<framelock::StartError>(std::string(source).substr(16), [&] { Aggregator({{"a", source}}); });
    Subscription subscription = one.subscribe();
    CHECK(!subscription.next(0ns) && !subscription.next(-5ns) && !subscription.next(1ms), "a packet of nobody");
    one.close();
    expect<framelock::ClosedError>("closed", [&] { subscription.next(); });
    expect<framelock::ClosedError>("closed", [&] { for (const Packet &packet : subscription) (void)packet; });
    expect<framelock::ClosedError>("closed", [&] { one.subscribe(); });
    Subscription moved = std::move(subscription);
    expect<framelock::Error>("NULL", [&] { subscription.next(); });
    Subscription compressed = aggregator.subscribe();
    const Packet packet = complete(compressed);
    expect<framelock::NotRequestedError>("pixels", [&] { packet[0].image(); });
    expect<framelock::NotRequestedError>("motion", [&] { packet[0].motion_vectors(); });
    CHECK(framelock::version() == framelock_version(), "its version");
}

void a_loop_ends_with_its_files(const char *clip) {
    Aggregator aggregator({{"clip", "file:" + std::string(clip) + ",fast"}});
    Subscription subscription = aggregator.subscribe({framelock::Pixels::gray, false, framelock::Queue::all, 5});
    int count = 0;
    for (const Packet &packet : subscription) count += packet["clip"].image().width == 160u;
    CHECK(count == 50, "%d packets of 50 frames", count);
    for (const Packet &packet : subscription) CHECK(false, "packet %d after the last", int(packet.number()));
    expect<framelock::StreamEnded>("end", [&] { subscription.next(); });
}

} // namespace

int main(int argc, char **argv) {
    CHECK(argc == 2, "usage: wrapper CLIP, of 50 frames");
    SenderOptions later = USUAL;
    later.source = "test:phase=11ms";
    Sender left = start_sender("left", USUAL), right = start_sender("right", later);
    Aggregator aggregator({{"left", left.source}, {"right", right.source}});
    packets_are_what_the_c_functions_say(aggregator);
    pictures_come_in_every_form(aggregator);
    packets_are_owned(aggregator);
    loops_go_through_packets(aggregator);
    cameras_have_a_status(aggregator);
    a_camera_without_a_frame_throws(aggregator);
    what_is_wrong_is_an_exception(aggregator);
    a_loop_ends_with_its_files(argv[1]);
    kill_sender(&left);
    kill_sender(&right);
}
