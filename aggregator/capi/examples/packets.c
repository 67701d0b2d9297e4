// Prints what every packet has: how far its frames are apart, and of each the time, its bound and its mean brightness.
//
//     make capi
//     export PKG_CONFIG_PATH=$PWD/target/capi/lib/pkgconfig LD_LIBRARY_PATH=$PWD/target/capi/lib
//     cc aggregator/capi/examples/packets.c $(pkg-config --cflags --libs framelock) -o packets
//     ./packets 100 left rtp://:5000 right rtp://:5002
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <framelock.h>

static double brightness(const FramelockImage *image) {
    double sum = 0;
    for (size_t y = 0; y < image->height; y++) {
        const uint8_t *row = image->data + y * image->stride;
        for (size_t x = 0; x < (size_t)image->width * 3; x++) sum += row[x];
    }
    return sum / (3.0 * image->width * image->height);
}

static void show(const FramelockPacket *packet) {
    const FramelockPacketInfo *info = framelock_packet_info(packet);
    printf("packet %" PRIu64 " within %.3f ms\n", info->number, (double)info->spread_bound_ns / 1e6);
    for (size_t n = 0; n < framelock_packet_count(packet); n++) {
        const FramelockFrame *frame = framelock_packet_frame(packet, n);
        const FramelockFrameInfo *its = framelock_frame_info(frame);
        FramelockError error;
        FramelockImage image;
        if (framelock_frame_image(frame, &image, &error) == FRAMELOCK_RESULT_OK) {
            printf("  %s: %" PRId64 " ns +-%" PRId64 " by %s, %" PRIu32 "x%" PRIu32 ", brightness %.1f\n", its->camera,
                   its->time_ns, its->uncertainty_ns, framelock_time_source_name(its->time_source), image.width,
                   image.height, brightness(&image));
        } else {
            printf("  %s\n", error.message);
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 4 || argc % 2 != 0) {
        fprintf(stderr, "usage: %s PACKETS NAME SOURCE [NAME SOURCE]...\n", argv[0]);
        return 2;
    }
    FramelockError error = {0};
    FramelockAggregator *aggregator = NULL;
    FramelockSubscription *subscription = NULL;
    const FramelockSubscribeOptions options = {.pixels = FRAMELOCK_PIXELS_BGR};

    FramelockConfig *config = framelock_config_new();
    for (int n = 2; n < argc && !error.result; n += 2) {
        framelock_config_add_camera(config, argv[n], argv[n + 1], &error);
    }
    if (!error.result) framelock_aggregator_start(config, &aggregator, &error);
    if (!error.result) framelock_aggregator_subscribe(aggregator, &options, &subscription, &error);
    for (long left = strtol(argv[1], NULL, 10); left > 0 && !error.result; left--) {
        FramelockPacket *packet;
        // Half a minute without any packet is an error here.
        if (framelock_subscription_next(subscription, INT64_C(30000000000), &packet, &error) == FRAMELOCK_RESULT_OK) {
            show(packet);
            framelock_packet_release(packet);
        }
    }
    if (error.result) fprintf(stderr, "%s\n", error.message);

    // All of these take NULL.
    framelock_subscription_free(subscription);
    framelock_aggregator_free(aggregator);
    framelock_config_free(config);
    return error.result == FRAMELOCK_RESULT_OK ? 0 : 1;
}
