// Memory stays where it is, however many packets went through.
#include "support.h"

// What the allocator may keep more at one time than at another. One image leaked in a hundred packets would come to
// twice as much.
enum { PACKETS = 5000, SETTLED = 1000, ALLOWED_KIB = 2048 };

static void use(const FramelockPacket *packet) {
    for (size_t n = 0; n < framelock_packet_count(packet); n++) {
        const FramelockFrame *frame = framelock_packet_frame(packet, n);
        if (framelock_frame_info(frame)->status != FRAMELOCK_FRAME_STATUS_OKAY) continue;
        FramelockImage image;
        const FramelockMotionVector *vectors;
        size_t count;
        OK(framelock_frame_image(frame, &image, &error));
        OK(framelock_frame_motion_vectors(frame, &vectors, &count, &error));
        CHECK(image.width == 160 && image.data[0] != 1 && count < 10000, "%u", image.width);
    }
}

static void packets_leave_no_memory_behind(const Sender *left, const Sender *right) {
    FramelockAggregator *aggregator = aggregator_of("left", left->source, "right", right->source, NULL);
    FramelockSubscription *all =
        subscribe(aggregator, (FramelockSubscribeOptions){.pixels = FRAMELOCK_PIXELS_BGR, .motion_vectors = 1, .packets = 50});
    // A second consumer that is never fast enough.
    FramelockSubscription *slow =
        subscribe(aggregator, (FramelockSubscribeOptions){.pixels = FRAMELOCK_PIXELS_GRAY, .packets = 3});
    long before = 0;
    for (int count = 0; count < PACKETS; count++) {
        FramelockPacket *packet = next_packet(all);
        use(framelock_packet_retain(packet));
        framelock_packet_release(packet);
        framelock_packet_release(packet);
        if (count % 100 == 0) {
            framelock_packet_release(next_packet(slow));
            FramelockStatus *status;
            OK(framelock_aggregator_status(aggregator, &status, &error));
            framelock_status_free(status);
        }
        if (count == SETTLED) before = resident_kib();
    }
    const long after = resident_kib();
    printf("%ld KiB after %d packets, %ld KiB after %d\n", before, SETTLED, after, PACKETS);
    CHECK(after - before <= ALLOWED_KIB, "memory grows");
    framelock_subscription_free(slow);
    framelock_subscription_free(all);
    framelock_aggregator_free(aggregator);
}

static void opening_and_closing_leaves_no_memory_behind(const Sender *left) {
    long before = 0;
    for (int count = 0; count < 60; count++) {
        FramelockAggregator *aggregator = aggregator_of("left", left->source, NULL);
        FramelockSubscription *subscription =
            subscribe(aggregator, (FramelockSubscribeOptions){.pixels = FRAMELOCK_PIXELS_BGR});
        framelock_packet_release(next_packet(subscription));
        framelock_subscription_free(subscription);
        framelock_aggregator_free(aggregator);
        if (count == 20) before = resident_kib();
    }
    const long after = resident_kib();
    printf("%ld KiB after 20 aggregators, %ld KiB after 60\n", before, after);
    CHECK(after - before <= ALLOWED_KIB, "memory grows");
}

int main(void) {
    const SenderOptions fast = {"test", "160x120", "2000k", 200};
    Sender left = start_sender("left", fast), right = start_sender("right", fast);
    packets_leave_no_memory_behind(&left, &right);
    opening_and_closing_leaves_no_memory_behind(&left);
    kill_sender(&left);
    kill_sender(&right);
    return 0;
}
