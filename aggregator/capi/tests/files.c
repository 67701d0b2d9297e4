// Sources that end, and those that send JPEG: two clips of 50 and 25 frames at 25 a second, and a web server's image of
// one colour.
//
//     files LONG SHORT JPEG      the clips' paths, and the image's URL
#define _GNU_SOURCE
#include "support.h"

#include <poll.h>

static const FramelockSubscribeOptions ALL = {.pixels = FRAMELOCK_PIXELS_BGR, .queue = FRAMELOCK_QUEUE_ALL, .packets = 5};

static FramelockAggregator *two_files(const char *paths[2], const char *options) {
    char sources[2][512];
    for (int n = 0; n < 2; n++) snprintf(sources[n], sizeof sources[n], "file:%s%s", paths[n], options);
    return aggregator_of("long", sources[0], "short", sources[1], NULL);
}

static void every_packet_comes_and_then_the_end(const char *paths[2], const char *options) {
    FramelockAggregator *aggregator = two_files(paths, options);
    FramelockSubscription *subscription = subscribe(aggregator, ALL);
    struct pollfd word = {.events = POLLIN};
    OK(framelock_subscription_fd(subscription, &word.fd, &error));
    int packets = 0, frames[2] = {0};
    FramelockPacket *packet;
    FramelockError error;
    FramelockResult result;
    while ((result = framelock_subscription_next(subscription, PATIENCE_NS, &packet, &error)) == FRAMELOCK_RESULT_OK) {
        packets++;
        for (size_t n = 0; n < 2; n++) {
            const FramelockFrame *frame = framelock_packet_frame(packet, n);
            if (framelock_frame_info(frame)->status != FRAMELOCK_FRAME_STATUS_OKAY) continue;
            FramelockImage image;
            OK(framelock_frame_image(frame, &image, &error));
            CHECK(image.width == 160 && image.height == 96, "%ux%u", image.width, image.height);
            frames[n]++;
        }
        framelock_packet_release(packet);
    }
    CHECK(result == FRAMELOCK_RESULT_ENDED && !packet, "result %u", (unsigned)result);
    CHECK(error.result == result && strstr(error.message, "every source has come to its end"), "%s", error.message);
    CHECK(packets == 50 && frames[0] == 50 && frames[1] == 25, "%d packets of %d and %d", packets, frames[0], frames[1]);
    // It stays so, for who waits, who looks, and event loops.
    EXPECT(FRAMELOCK_RESULT_ENDED, framelock_subscription_next(subscription, FRAMELOCK_FOREVER, &packet, &error));
    EXPECT(FRAMELOCK_RESULT_ENDED, framelock_subscription_next(subscription, 0, &packet, &error));
    CHECK(poll(&word, 1, 0) == 1, "it is over, and the file does not say so");
    FramelockCounters counters;
    OK(framelock_subscription_counters(subscription, &counters, &error));
    CHECK(counters.offered == 50 && counters.delivered == 50 && counters.skipped == 0, "counters");
    FramelockStatus *status;
    OK(framelock_aggregator_status(aggregator, &status, &error));
    const char *reason = framelock_status_camera(status, 0)->reason;
    CHECK(reason && strstr(reason, "the file ended"), "%s", reason ? reason : "none");
    framelock_status_free(status);
    // Who comes late is told at once.
    FramelockSubscription *late = subscribe(aggregator, ALL);
    EXPECT(FRAMELOCK_RESULT_ENDED, framelock_subscription_next(late, FRAMELOCK_FOREVER, &packet, &error));
    framelock_subscription_free(late);
    framelock_subscription_free(subscription);
    framelock_aggregator_free(aggregator);
}

static void jpeg_is_decoded_when_it_is_taken(const char *url) {
    FramelockAggregator *aggregator = aggregator_of("phone", url, NULL);
    FramelockSubscription *pictures = subscribe(aggregator, (FramelockSubscribeOptions){.pixels = FRAMELOCK_PIXELS_BGR});
    FramelockSubscription *compressed = subscribe(aggregator, (FramelockSubscribeOptions){0});
    for (int count = 0; count < 5; count++) {
        FramelockPacket *packet = next_packet(pictures);
        const FramelockFrame *frame = framelock_packet_find(packet, "phone");
        const FramelockFrameInfo *info = framelock_frame_info(frame);
        if (info->status != FRAMELOCK_FRAME_STATUS_OKAY) {
            framelock_packet_release(packet);
            count--;
            continue;
        }
        CHECK(info->codec == FRAMELOCK_CODEC_JPEG && info->time_source == FRAMELOCK_TIME_SOURCE_ARRIVAL, "what is it?");
        CHECK(info->frame_type == FRAMELOCK_FRAME_TYPE_I && info->key, "%u", (unsigned)info->frame_type);
        CHECK(info->size > 4 && info->data[0] == 0xff && info->data[1] == 0xd8, "no JPEG");
        FramelockImage image;
        OK(framelock_frame_image(frame, &image, &error));
        CHECK(image.width == 64 && image.height == 48, "%ux%u", image.width, image.height);
        for (size_t n = 0; n < 64 * 48; n++) {
            const uint8_t *pixel = image.data + n / 64 * image.stride + n % 64 * 3;
            CHECK(pixel[0] < 16 && pixel[1] < 16 && pixel[2] > 239, "not red: %d %d %d", pixel[0], pixel[1], pixel[2]);
        }
        framelock_packet_release(packet);
        packet = next_packet(compressed);
        FramelockPlanes planes;
        EXPECT(framelock_frame_info(framelock_packet_frame(packet, 0))->data ? FRAMELOCK_RESULT_NOT_REQUESTED
                                                                             : FRAMELOCK_RESULT_NO_FRAME,
               framelock_frame_planes(framelock_packet_frame(packet, 0), &planes, &error));
        framelock_packet_release(packet);
    }
    framelock_subscription_free(compressed);
    framelock_subscription_free(pictures);
    framelock_aggregator_free(aggregator);
}

int main(int argc, char **argv) {
    CHECK(argc == 4, "usage: files LONG SHORT JPEG");
    const char *paths[2] = {argv[1], argv[2]};
    every_packet_comes_and_then_the_end(paths, ",fast");
    every_packet_comes_and_then_the_end(paths, "");
    jpeg_is_decoded_when_it_is_taken(argv[3]);
    return 0;
}
