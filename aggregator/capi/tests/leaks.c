// Memory stays where it is, however many packets went through.
#define _GNU_SOURCE
#include "support.h"

#include <malloc.h>

// What is in use varies with the pictures that wait for a consumer, and what is resident also with what the allocator
// keeps. One image leaked in a hundred packets would come to 4500 KiB.
enum { PACKETS = 5000, SETTLED = 1000, ALLOWED_KIB = 1024, ALLOWED_RESIDENT_KIB = 8192 };

typedef struct {
    long used_kib, resident_kib;
} Memory;

static Memory memory(void) {
    const struct mallinfo2 info = mallinfo2();
    return (Memory){(long)((info.uordblks + info.hblkhd) / 1024), resident_kib()};
}

static void check_growth(Memory before, const char *what) {
    const Memory after = memory();
    printf("%s: %ld KiB in use, and then %ld; %ld KiB resident, and then %ld\n", what, before.used_kib, after.used_kib,
           before.resident_kib, after.resident_kib);
    CHECK(after.used_kib - before.used_kib <= ALLOWED_KIB, "what is in use grows");
    CHECK(after.resident_kib - before.resident_kib <= ALLOWED_RESIDENT_KIB, "what is resident grows");
}

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
        subscribe(aggregator, (FramelockSubscribeOptions){.pixels = FRAMELOCK_PIXELS_BGR, .motion_vectors = 1, .packets = 10});
    // A second consumer that is never fast enough.
    FramelockSubscription *slow =
        subscribe(aggregator, (FramelockSubscribeOptions){.pixels = FRAMELOCK_PIXELS_GRAY, .packets = 3});
    Memory before = {0};
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
        if (count == SETTLED) before = memory();
    }
    check_growth(before, "1000 packets and 4000 more");
    framelock_subscription_free(slow);
    framelock_subscription_free(all);
    framelock_aggregator_free(aggregator);
}

static void opening_and_closing_leaves_no_memory_behind(const Sender *left) {
    Memory before = {0};
    for (int count = 0; count < 60; count++) {
        FramelockAggregator *aggregator = aggregator_of("left", left->source, NULL);
        FramelockSubscription *subscription =
            subscribe(aggregator, (FramelockSubscribeOptions){.pixels = FRAMELOCK_PIXELS_BGR});
        framelock_packet_release(next_packet(subscription));
        framelock_subscription_free(subscription);
        framelock_aggregator_free(aggregator);
        if (count == 20) before = memory();
    }
    check_growth(before, "20 aggregators and 40 more");
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
